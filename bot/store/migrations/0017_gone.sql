-- Messages of replies that do not show them any more: deleted, or another stands in their place.
-- What refers to one, a thread opened on it for instance, still finds its turn.

CREATE TABLE gone (
  message_id  TEXT PRIMARY KEY REFERENCES reply (message_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
