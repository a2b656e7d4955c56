-- Where the message stands that asked a turn; null for a command, which nobody can delete, and for what was asked before this.

ALTER TABLE asked ADD COLUMN channel_id TEXT;
