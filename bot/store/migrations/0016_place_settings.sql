-- What admins have set for channels, servers and everywhere.

CREATE TABLE place_setting (
  place          TEXT NOT NULL, -- '' is everywhere
  name           TEXT NOT NULL,
  value          TEXT NOT NULL, -- a JSON list of texts
  changed_by     TEXT NOT NULL,
  changed_at_ms  INTEGER NOT NULL,
  PRIMARY KEY (place, name)
) STRICT, WITHOUT ROWID;
