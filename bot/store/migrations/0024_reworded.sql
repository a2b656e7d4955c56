-- Turns whose question was edited since: it reads otherwise now than what they answer.

CREATE TABLE reworded (
  turn  TEXT PRIMARY KEY REFERENCES turn (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
