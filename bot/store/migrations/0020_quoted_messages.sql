-- Which message quoted words and their files are from: they leave with it. Null for a question's own files, and for what was stored before this.

ALTER TABLE quote ADD COLUMN message_id TEXT;
ALTER TABLE attachment ADD COLUMN message_id TEXT;

CREATE INDEX quote_message ON quote (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX attachment_message ON attachment (message_id) WHERE message_id IS NOT NULL;
