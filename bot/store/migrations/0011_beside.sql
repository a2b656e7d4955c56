-- Of several answers to one question, those that are not shown; and which message asked a turn.

CREATE TABLE hidden (
  turn  TEXT PRIMARY KEY REFERENCES turn (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Questions are forgotten after a day; that a message was edited or deleted may be told later.
CREATE TABLE asked (
  message_id  TEXT PRIMARY KEY,
  turn        TEXT NOT NULL REFERENCES turn (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX asked_turn ON asked (turn);

INSERT INTO asked SELECT id, turn FROM question WHERE turn IN (SELECT id FROM turn);
