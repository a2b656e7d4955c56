-- What Discord has delivered, known before anything of its answer is shown: a crash leaves nobody
-- untold, and what is delivered twice is answered once.

CREATE TABLE question (
  id          TEXT PRIMARY KEY, -- the message's or interaction's own
  channel_id  TEXT NOT NULL,
  token       TEXT,             -- an interaction's while it is open: the way to its response
  turn        TEXT,             -- no reference: who asked is told even when the turn was forgotten
  is_open     INTEGER NOT NULL CHECK (is_open IN (0, 1)),
  at_ms       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX question_open ON question (id) WHERE is_open = 1;
CREATE INDEX question_at ON question (at_ms);
