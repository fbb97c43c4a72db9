-- Expand: who ordered gets a second column. Programs that do not know it go on working, and leave it empty.
ALTER TABLE orders ADD COLUMN << new >> TEXT NOT NULL DEFAULT '';
