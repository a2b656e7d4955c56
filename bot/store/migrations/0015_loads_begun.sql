-- Loads under way: what a Lantern that dies meanwhile leaves behind is known by them.

CREATE TABLE load_begun (
  host        TEXT NOT NULL,
  model_key   TEXT NOT NULL,
  ttl_s       INTEGER NOT NULL,
  idle_ttl_s  REAL,
  at_ms       INTEGER NOT NULL,
  PRIMARY KEY (host, model_key)
) STRICT, WITHOUT ROWID;
