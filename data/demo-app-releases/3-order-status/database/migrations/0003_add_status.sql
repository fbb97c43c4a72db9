-- Expand: orders get a status. Older programs do not write it, so the default must be right for them.
ALTER TABLE orders ADD COLUMN status TEXT NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'packed', 'sent'));
CREATE INDEX orders_by_status ON orders (status);
