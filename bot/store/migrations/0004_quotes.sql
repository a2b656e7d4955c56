-- Words said earlier that a question takes along: whose they are, where and when they were said.

CREATE TABLE quote (
  turn        TEXT NOT NULL REFERENCES turn (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  user        TEXT NOT NULL,
  user_name   TEXT NOT NULL,
  channel     TEXT NOT NULL,
  thread      TEXT,
  server      TEXT,
  is_private  INTEGER NOT NULL CHECK (is_private IN (0, 1)),
  is_certain  INTEGER NOT NULL CHECK (is_certain IN (0, 1)),
  said_at_ms  INTEGER NOT NULL,
  text        TEXT NOT NULL,
  PRIMARY KEY (turn, position)
) STRICT;

-- When a place's or a person's mark was last taken away: what was said before it was said in private.
CREATE TABLE opened (
  kind   TEXT NOT NULL CHECK (kind IN ('place', 'user')),
  name   TEXT NOT NULL,
  at_ms  INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
