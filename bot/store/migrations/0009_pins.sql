-- Models pinned on hosts: loaded again there when they were lost.

CREATE TABLE pin (
  host       TEXT NOT NULL,
  model_key  TEXT NOT NULL,
  PRIMARY KEY (host, model_key)
) STRICT, WITHOUT ROWID;

-- A pin was known by its instance alone, and forgotten when that was lost.
INSERT INTO pin (host, model_key) SELECT DISTINCT host, model_key FROM own_instance WHERE pinned = 1;
