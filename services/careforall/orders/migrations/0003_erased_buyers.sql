-- Buyers who asked to be forgotten. Their orders that are still open keep where they are delivered to until they end; so these buyers
-- are looked at again until nothing of theirs is left, and nothing that was being written meanwhile can come any more.

CREATE TABLE erased_buyers (
    user_id uuid PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz
);
CREATE INDEX erased_buyers_open ON erased_buyers (user_id) WHERE settled_at IS NULL;
CREATE INDEX saga_state_of_user ON saga_state (user_id);

-- When an order was emptied of its buyer. The check is not run over older rows: none of them is erased.
ALTER TABLE orders
    ADD COLUMN erased_at timestamptz,
    ADD CONSTRAINT erased_is_empty CHECK (
        erased_at IS NULL OR (email = '' AND shipping_address IS NULL AND billing_address IS NULL)
    ) NOT VALID;
