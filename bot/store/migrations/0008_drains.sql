-- Hosts that an admin gave back to their owners.

CREATE TABLE drain (
  host      TEXT PRIMARY KEY,
  until_ms  INTEGER -- NULL until somebody ends it
) STRICT, WITHOUT ROWID;
