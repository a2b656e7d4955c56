-- How long hosts take to wake from sleep.

CREATE TABLE wake (
  host     TEXT PRIMARY KEY,
  seconds  REAL NOT NULL CHECK (seconds >= 0)
) STRICT, WITHOUT ROWID;
