-- API keys of the gateway. The key itself is shown once and kept nowhere.
CREATE TABLE api_key (
  id              TEXT PRIMARY KEY, -- its public part
  name            TEXT NOT NULL UNIQUE,
  digest          TEXT NOT NULL, -- SHA-256 of the whole key
  scopes          TEXT NOT NULL, -- JSON lists
  models          TEXT NOT NULL,
  daily_micro_usd INTEGER,
  rate_count      INTEGER,
  rate_period_s   REAL,
  created_at_ms   INTEGER NOT NULL,
  last_used_ms    INTEGER,
  expires_at_ms   INTEGER
) STRICT;
