-- Each piece is a parcel, and a carrier takes a hundred. Orders of versions that do not count parcels have none.
ALTER TABLE orders ADD COLUMN parcels INTEGER CHECK (parcels <= 100);
