-- What turns cost and may cost, answers that may be given again, and what must stay on the LAN.
-- Money is micro-dollars, unit prices micro-dollars per million tokens, times UTC milliseconds.

CREATE TABLE ledger (
  number              INTEGER PRIMARY KEY AUTOINCREMENT,
  turn                TEXT NOT NULL, -- no reference: what was spent outlives forgotten words
  source              TEXT NOT NULL CHECK (source IN ('cloud', 'local', 'cache')),
  state               TEXT NOT NULL CHECK (state IN ('reserved', 'settled', 'released')),
  basis               TEXT NOT NULL CHECK (basis IN ('', 'usage', 'counted', 'worst', 'nothing')),
  answered_by         TEXT NOT NULL, -- provider or host
  model               TEXT NOT NULL,
  server              TEXT NOT NULL,
  user                TEXT NOT NULL, -- salted hash
  day                 TEXT NOT NULL, -- in the budget's time zone, of the moment of booking
  at_ms               INTEGER NOT NULL,
  ended_at_ms         INTEGER,
  prompt_tokens       INTEGER NOT NULL DEFAULT 0 CHECK (prompt_tokens >= 0),
  cached_tokens       INTEGER NOT NULL DEFAULT 0 CHECK (cached_tokens >= 0),
  completion_tokens   INTEGER NOT NULL DEFAULT 0 CHECK (completion_tokens >= 0),
  reasoning_tokens    INTEGER NOT NULL DEFAULT 0 CHECK (reasoning_tokens >= 0),
  input_price         INTEGER NOT NULL DEFAULT 0 CHECK (input_price >= 0),
  cached_price        INTEGER NOT NULL DEFAULT 0 CHECK (cached_price >= 0),
  output_price        INTEGER NOT NULL DEFAULT 0 CHECK (output_price >= 0),
  price_source        TEXT NOT NULL DEFAULT '',
  price_as_of         TEXT NOT NULL DEFAULT '',
  price_known         INTEGER NOT NULL DEFAULT 1 CHECK (price_known IN (0, 1)),
  reserved_micro_usd  INTEGER NOT NULL DEFAULT 0 CHECK (reserved_micro_usd >= 0),
  cost_micro_usd      INTEGER NOT NULL DEFAULT 0 CHECK (cost_micro_usd >= 0),
  first_token_ms      INTEGER,
  generation_ms       INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX ledger_day ON ledger (day);
CREATE INDEX ledger_turn ON ledger (turn);
CREATE INDEX ledger_open ON ledger (number) WHERE state = 'reserved';

-- The sums of each day's rows, kept in the same transactions: adding up a busy day for every
-- booking would hold the writer for tens of milliseconds.
CREATE TABLE account (
  day       TEXT NOT NULL,
  payer     TEXT NOT NULL CHECK (payer IN ('all', 'server', 'user')),
  name      TEXT NOT NULL,
  spent     INTEGER NOT NULL CHECK (spent >= 0),
  reserved  INTEGER NOT NULL CHECK (reserved >= 0),
  PRIMARY KEY (day, payer, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE budget_notice (
  day   TEXT NOT NULL,
  what  TEXT NOT NULL CHECK (what IN ('alert', 'spent')),
  PRIMARY KEY (day, what)
) STRICT, WITHOUT ROWID;

CREATE TABLE answer (
  number             INTEGER PRIMARY KEY AUTOINCREMENT,
  key                TEXT NOT NULL UNIQUE,
  model              TEXT NOT NULL,
  answered_by        TEXT NOT NULL,
  is_local           INTEGER NOT NULL CHECK (is_local IN (0, 1)),
  prompt_tokens      INTEGER NOT NULL,
  completion_tokens  INTEGER NOT NULL,
  kept_at_ms         INTEGER NOT NULL,
  text               TEXT NOT NULL
) STRICT;

CREATE INDEX answer_age ON answer (kept_at_ms);

CREATE TABLE local_only (
  kind           TEXT NOT NULL CHECK (kind IN ('place', 'user', 'turn')),
  name           TEXT NOT NULL,
  changed_at_ms  INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
