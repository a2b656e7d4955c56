-- Names of keys that were revoked: what each used is still told by its name.

CREATE TABLE revoked_key (
  name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
