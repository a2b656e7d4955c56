-- What people asked to be remembered, with where and when they said it.

CREATE TABLE fact (
  number      INTEGER PRIMARY KEY AUTOINCREMENT,
  user        TEXT NOT NULL,
  user_name   TEXT NOT NULL,
  channel     TEXT NOT NULL,
  thread      TEXT,
  server      TEXT,
  is_private  INTEGER NOT NULL CHECK (is_private IN (0, 1)),
  is_certain  INTEGER NOT NULL CHECK (is_certain IN (0, 1)),
  said_at_ms  INTEGER NOT NULL,
  text        TEXT NOT NULL
) STRICT;

CREATE INDEX fact_user ON fact (user, number);

CREATE INDEX turn_user ON turn (user, number);
CREATE INDEX quote_user ON quote (user);
