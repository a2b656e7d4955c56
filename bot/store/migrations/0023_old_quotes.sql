-- Quotes stored before 0020 leave with their message, too: by when that was written, which its id tells.

CREATE INDEX quote_said_at ON quote (said_at_ms) WHERE message_id IS NULL;
