-- contract: orders.<< old >>
-- A last fill, for orders of a version that was gone back to. Then the column goes, and with it the way back to
-- programs that need it.
UPDATE orders SET << new >> = << old >> WHERE << new >> = '';
ALTER TABLE orders DROP COLUMN << old >>;
