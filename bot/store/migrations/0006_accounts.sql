-- Budgets of months and of providers beside those of days; which ledger rows are answers.

-- Made anew, since SQLite cannot widen a CHECK.
CREATE TABLE payer_account (
  period    TEXT NOT NULL, -- a day, 2026-11-20, or a month, 2026-11
  payer     TEXT NOT NULL CHECK (payer IN ('all', 'provider', 'server', 'user')),
  name      TEXT NOT NULL,
  spent     INTEGER NOT NULL CHECK (spent >= 0),
  reserved  INTEGER NOT NULL CHECK (reserved >= 0),
  PRIMARY KEY (period, payer, name)
) STRICT, WITHOUT ROWID;

INSERT INTO payer_account SELECT day, payer, name, spent, reserved FROM account;
DROP TABLE account;
ALTER TABLE payer_account RENAME TO account;

-- What was spent before the update counts against the month it was spent in.
INSERT INTO account
  SELECT substr(day, 1, 7), 'all', '', sum(cost_micro_usd),
    sum(iif(state = 'reserved', reserved_micro_usd, 0))
  FROM ledger WHERE source = 'cloud' GROUP BY 1;
INSERT INTO account
  SELECT day, 'provider', answered_by, sum(cost_micro_usd),
    sum(iif(state = 'reserved', reserved_micro_usd, 0))
  FROM ledger WHERE source = 'cloud' GROUP BY day, answered_by;
INSERT INTO account
  SELECT substr(day, 1, 7), 'provider', answered_by, sum(cost_micro_usd),
    sum(iif(state = 'reserved', reserved_micro_usd, 0))
  FROM ledger WHERE source = 'cloud' GROUP BY 1, answered_by;

CREATE TABLE told (
  period    TEXT NOT NULL,
  what      TEXT NOT NULL CHECK (what IN ('alert', 'spent')),
  provider  TEXT NOT NULL, -- '' is everybody's budget
  PRIMARY KEY (period, what, provider)
) STRICT, WITHOUT ROWID;

INSERT INTO told SELECT day, what, '' FROM budget_notice;
DROP TABLE budget_notice;
ALTER TABLE told RENAME TO budget_notice;

-- A question may take several paid calls, of which one at most brings its answer.
ALTER TABLE ledger ADD COLUMN is_answer INTEGER NOT NULL DEFAULT 0 CHECK (is_answer IN (0, 1));
UPDATE ledger SET is_answer = 1 WHERE state = 'settled' AND number IN (
  SELECT max(number) FROM ledger WHERE completion_tokens > 0 GROUP BY turn
);
