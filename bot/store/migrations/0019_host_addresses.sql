-- Where each host stood at the last start: what is known of one goes with its address when its owner calls it otherwise.

CREATE TABLE host_address (
  host     TEXT PRIMARY KEY,
  address  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
