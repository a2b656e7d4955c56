-- Who chose, and who marked a place or person local only; '' of what was set before this was noted.

ALTER TABLE choice ADD COLUMN changed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE local_only ADD COLUMN changed_by TEXT NOT NULL DEFAULT '';
