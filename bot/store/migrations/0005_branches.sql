-- Which turns stand beside the line that everybody's next message goes on from (ADR 15).

CREATE TABLE aside (
  turn     TEXT PRIMARY KEY REFERENCES turn (id) ON DELETE CASCADE,
  branch   TEXT NOT NULL, -- the turn that opened it
  is_said  INTEGER NOT NULL CHECK (is_said IN (0, 1)) -- 0: made by a button, which leads nobody there
) STRICT, WITHOUT ROWID;

CREATE INDEX aside_branch ON aside (branch);

-- A retry and the turn it redoes; one that ends without a word gives its place back.
CREATE TABLE redone (
  turn    TEXT PRIMARY KEY REFERENCES turn (id) ON DELETE CASCADE,
  redoes  TEXT NOT NULL REFERENCES turn (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX redone_redoes ON redone (redoes);
