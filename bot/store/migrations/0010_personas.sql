-- Personas made in a chat: each a character card, as its maker's program wrote it.
CREATE TABLE persona (
  name           TEXT PRIMARY KEY, -- `sage#0123abcd`: its end is never given again
  scope          TEXT NOT NULL CHECK (scope IN ('me', 'server', 'all')),
  owner          TEXT NOT NULL, -- a person, a server, '' for everybody
  shown_name     TEXT NOT NULL, -- in small letters
  maker          TEXT NOT NULL,
  version        INTEGER NOT NULL,
  changed_at_ms  INTEGER NOT NULL,
  card           TEXT NOT NULL CHECK (json_valid(card)),
  picture        BLOB,
  UNIQUE (scope, owner, shown_name)
) STRICT;

-- Rises with every change of any persona, so that a Lantern beside another sees that one's.
CREATE TABLE persona_change (
  number  INTEGER NOT NULL
) STRICT;

INSERT INTO persona_change VALUES (0);
