-- Goods that cost nothing, and those whose money is back already, are returned too.
ALTER TABLE order_returns
    DROP CONSTRAINT order_returns_amount_check,
    ADD CONSTRAINT order_returns_amount_check CHECK (amount >= 0);
