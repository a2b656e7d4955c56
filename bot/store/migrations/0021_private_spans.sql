-- From when until when the mark of a place or person stood that was taken away since: what was said meanwhile was said in private. Of marks taken away before this nobody knows since when they stood: all before their end counts.

CREATE TABLE private_span (
  kind      TEXT NOT NULL CHECK (kind IN ('place', 'user')),
  name      TEXT NOT NULL,
  since_ms  INTEGER NOT NULL,
  until_ms  INTEGER NOT NULL,
  PRIMARY KEY (kind, name, since_ms, until_ms)
) STRICT, WITHOUT ROWID;

INSERT INTO private_span SELECT kind, name, 0, at_ms FROM opened;

DROP TABLE opened;
