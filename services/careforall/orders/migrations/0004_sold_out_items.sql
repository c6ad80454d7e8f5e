-- Goods of which staff says that they are sold out: not sold now, and not gone either.
ALTER TABLE sold_items ADD COLUMN sold_out boolean NOT NULL DEFAULT false;
