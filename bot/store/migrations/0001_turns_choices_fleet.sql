-- Turns with their attachments and Discord messages, choices by scope, own instances, measured
-- speeds, notes. Times are UTC milliseconds.

PRAGMA application_id = 0x4C4E5452; -- "LNTR": tells a Lantern database from another program's

CREATE TABLE turn (
  -- AUTOINCREMENT: a reset remembers a number, so a number must never be given twice.
  number          INTEGER PRIMARY KEY AUTOINCREMENT,
  id              TEXT NOT NULL UNIQUE,
  parent          TEXT REFERENCES turn (id) ON DELETE SET NULL,
  user            TEXT NOT NULL,
  user_name       TEXT NOT NULL,
  channel         TEXT NOT NULL,
  thread          TEXT,
  server          TEXT,
  is_private      INTEGER NOT NULL CHECK (is_private IN (0, 1)),
  conversation    TEXT NOT NULL,
  persona         TEXT NOT NULL,
  status          TEXT NOT NULL CHECK (status IN ('running', 'done', 'partial', 'failed')),
  created_at_ms   INTEGER NOT NULL,
  changed_at_ms   INTEGER NOT NULL,
  -- The long ones last: SQLite walks through a long text to reach what stands behind it.
  user_text       TEXT NOT NULL,
  reply_text      TEXT NOT NULL,
  reasoning_text  TEXT NOT NULL,
  receipt         TEXT CHECK (receipt IS NULL OR json_valid(receipt))
) STRICT;

CREATE INDEX turn_parent ON turn (parent);
CREATE INDEX turn_persona ON turn (conversation, persona, number);
CREATE INDEX turn_conversation ON turn (conversation, number);
CREATE INDEX turn_running ON turn (number) WHERE status = 'running';

CREATE TABLE attachment (
  turn        TEXT NOT NULL REFERENCES turn (id) ON DELETE CASCADE,
  position    INTEGER NOT NULL,
  name        TEXT NOT NULL,
  media_type  TEXT NOT NULL,
  text        TEXT,
  image       BLOB,
  PRIMARY KEY (turn, position)
) STRICT;

CREATE TABLE reset (
  conversation  TEXT PRIMARY KEY,
  after         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reply (
  message_id  TEXT PRIMARY KEY,
  channel_id  TEXT NOT NULL,
  turn        TEXT NOT NULL REFERENCES turn (id) ON DELETE CASCADE,
  part        INTEGER NOT NULL CHECK (part >= 0),
  is_open     INTEGER NOT NULL CHECK (is_open IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE INDEX reply_turn ON reply (turn, part);
CREATE INDEX reply_open ON reply (turn) WHERE is_open = 1;

CREATE TABLE choice (
  scope          TEXT NOT NULL,
  place          TEXT NOT NULL,
  user           TEXT NOT NULL, -- '' where the scope is everybody's: NULLs would not be one key
  subject        TEXT NOT NULL CHECK (subject IN ('model', 'persona')),
  value          TEXT NOT NULL,
  changed_at_ms  INTEGER NOT NULL,
  PRIMARY KEY (scope, place, user, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE own_instance (
  host         TEXT NOT NULL,
  reference    TEXT NOT NULL,
  identifier   TEXT NOT NULL,
  model_key    TEXT NOT NULL,
  idle_ttl_s   REAL,
  pinned       INTEGER NOT NULL CHECK (pinned IN (0, 1)),
  added_at_ms  INTEGER NOT NULL,
  PRIMARY KEY (host, reference)
) STRICT, WITHOUT ROWID;

CREATE TABLE load_record (
  number      INTEGER PRIMARY KEY,
  host        TEXT NOT NULL,
  model_key   TEXT NOT NULL,
  seconds     REAL NOT NULL CHECK (seconds >= 0),
  size_bytes  INTEGER CHECK (size_bytes >= 0),
  at_ms       INTEGER NOT NULL
) STRICT;

CREATE TABLE speed_record (
  number             INTEGER PRIMARY KEY,
  host               TEXT NOT NULL,
  model_key          TEXT NOT NULL,
  prompt_tokens      INTEGER NOT NULL CHECK (prompt_tokens >= 0),
  completion_tokens  INTEGER NOT NULL CHECK (completion_tokens >= 0),
  first_token_s      REAL NOT NULL CHECK (first_token_s >= 0),
  generation_s       REAL NOT NULL CHECK (generation_s >= 0),
  at_ms              INTEGER NOT NULL
) STRICT;

CREATE TABLE speed (
  host                  TEXT NOT NULL,
  model_key             TEXT NOT NULL,
  load_s                REAL,
  prefill_tokens_per_s  REAL,
  tokens_per_s          REAL,
  turn_s                REAL,
  PRIMARY KEY (host, model_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE host_rate (
  host              TEXT PRIMARY KEY,
  load_bytes_per_s  REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE note (
  name   TEXT PRIMARY KEY,
  value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
