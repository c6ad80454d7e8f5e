-- Sagas with every step they took, orders with every transition, returns, and our own copy of what is sold (events of catalog).
-- Unpartitioned: intents, order numbers and sagas must be unique for ever (rule 3).

CREATE TABLE saga_state (
    id uuid PRIMARY KEY,
    type text NOT NULL CHECK (type IN ('CHECKOUT', 'DIRECT', 'CANCEL', 'RETURN')),
    status text NOT NULL CHECK (status IN ('STARTED', 'IN_PROGRESS', 'COMPLETED', 'COMPENSATING', 'COMPENSATED', 'FAILED')),
    current_step text NOT NULL,
    payload jsonb NOT NULL,
    completed_steps text[] NOT NULL DEFAULT '{}',
    error text NOT NULL DEFAULT '',
    code_version integer NOT NULL,
    user_id uuid NOT NULL,
    intent_id uuid,
    request_hash bytea,
    -- Until then nobody else looks at it: the lease of who drives it, or how long it waits for its buyer. Null once it has ended.
    lease_until timestamptz,
    epoch integer NOT NULL DEFAULT 1 CHECK (epoch > 0),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    -- The write that made this version: a repeat after an unknown COMMIT finds itself here (rule 2).
    turn uuid NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    parked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((lease_until IS NULL) = (status IN ('COMPLETED', 'COMPENSATED', 'FAILED')))
) WITH (fillfactor = 60);
CREATE INDEX saga_state_due ON saga_state (lease_until) WHERE lease_until IS NOT NULL;
CREATE UNIQUE INDEX saga_state_intent ON saga_state (intent_id) WHERE type IN ('CHECKOUT', 'DIRECT');

CREATE TABLE saga_step_log (
    saga_id uuid NOT NULL REFERENCES saga_state,
    number integer NOT NULL,
    step text NOT NULL,
    attempt integer NOT NULL,
    status text NOT NULL CHECK (status IN ('STARTED', 'COMPLETED', 'FAILED', 'COMPENSATED')),
    data text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (saga_id, number)
);

CREATE TABLE orders (
    id uuid PRIMARY KEY,
    order_number text NOT NULL CONSTRAINT orders_number UNIQUE,
    saga_id uuid NOT NULL CONSTRAINT orders_saga UNIQUE,
    intent_id uuid NOT NULL CONSTRAINT orders_intent UNIQUE,
    user_id uuid NOT NULL,
    email text NOT NULL DEFAULT '',
    cart_id uuid,
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN (
        'PENDING', 'CONFIRMED', 'PROCESSING', 'SHIPPED', 'DELIVERED', 'FAILED', 'CANCELLED', 'RETURNED', 'REFUNDED'
    )),
    currency char(3) NOT NULL,
    subtotal numeric(18, 3) NOT NULL CHECK (subtotal >= 0),
    discount numeric(18, 3) NOT NULL DEFAULT 0 CHECK (discount >= 0),
    shipping numeric(18, 3) NOT NULL DEFAULT 0 CHECK (shipping >= 0),
    tax numeric(18, 3) NOT NULL DEFAULT 0 CHECK (tax >= 0),
    total numeric(18, 3) NOT NULL CHECK (total > 0),
    refunded_amount numeric(18, 3) NOT NULL DEFAULT 0 CHECK (refunded_amount >= 0),
    gateway text NOT NULL,
    paid_by text NOT NULL DEFAULT '' CHECK (paid_by IN ('', 'PAYMENT', 'HAND')),
    shipping_address jsonb,
    billing_address jsonb,
    carrier text NOT NULL DEFAULT '',
    tracking text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    correlation_id text NOT NULL DEFAULT '',
    traceparent text,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_at timestamptz,
    delivered_at timestamptz,
    CHECK (refunded_amount <= total),
    CHECK (status IN ('PENDING', 'FAILED', 'CANCELLED') OR paid_by <> '')
) WITH (fillfactor = 80);
CREATE INDEX orders_of_user ON orders (user_id, id DESC);
CREATE INDEX orders_by_status ON orders (status, id DESC);

CREATE TABLE order_lines (
    order_id uuid NOT NULL REFERENCES orders,
    number smallint NOT NULL,
    sku text NOT NULL,
    product_id uuid,
    seller_id uuid,
    name text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    returned integer NOT NULL DEFAULT 0 CHECK (returned >= 0),
    unit_price numeric(18, 3) NOT NULL CHECK (unit_price >= 0),
    total numeric(18, 3) NOT NULL CHECK (total >= 0),
    status text NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'CONFIRMED', 'SHIPPED', 'DELIVERED', 'CANCELLED', 'RETURNED')),
    PRIMARY KEY (order_id, number),
    CHECK (returned <= quantity)
) WITH (fillfactor = 80);
CREATE INDEX order_lines_by_sku ON order_lines (sku, order_id DESC);
CREATE INDEX order_lines_of_seller ON order_lines (seller_id, order_id DESC) WHERE seller_id IS NOT NULL;

CREATE TABLE order_status_history (
    order_id uuid NOT NULL REFERENCES orders,
    version integer NOT NULL,
    from_status text,
    to_status text NOT NULL,
    cause text NOT NULL,
    refunded_amount numeric(18, 3) NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, version)
);

-- History and step log are written once.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name USING ERRCODE = '23001';
END
$$;
CREATE TRIGGER order_status_history_append_only BEFORE UPDATE OR DELETE ON order_status_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER saga_step_log_append_only BEFORE UPDATE OR DELETE ON saga_step_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- States only move forward, whatever the code believes. Packing and shipping at once appear here as one step.
CREATE FUNCTION check_order_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (old.status, new.status) NOT IN (
        ('PENDING', 'CONFIRMED'), ('PENDING', 'FAILED'), ('PENDING', 'CANCELLED'),
        ('CONFIRMED', 'PROCESSING'), ('CONFIRMED', 'CANCELLED'), ('CONFIRMED', 'SHIPPED'),
        ('PROCESSING', 'SHIPPED'), ('PROCESSING', 'CANCELLED'),
        ('SHIPPED', 'DELIVERED'), ('SHIPPED', 'RETURNED'),
        ('DELIVERED', 'RETURNED'),
        ('RETURNED', 'REFUNDED')
    ) THEN
        RAISE EXCEPTION 'illegal step of an order: % to %', old.status, new.status
            USING ERRCODE = '23514', CONSTRAINT = 'legal_step';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER orders_step BEFORE UPDATE OF status ON orders
    FOR EACH ROW WHEN (old.status IS DISTINCT FROM new.status) EXECUTE FUNCTION check_order_step();

CREATE TABLE order_returns (
    id uuid PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES orders,
    status text NOT NULL CHECK (status IN ('PENDING', 'APPROVED', 'REJECTED', 'REFUNDED')),
    reason text NOT NULL CHECK (reason IN ('DAMAGED', 'WRONG_ITEM', 'NOT_AS_DESCRIBED', 'CHANGED_MIND', 'OTHER')),
    note text NOT NULL DEFAULT '' CHECK (char_length(note) <= 1000),
    condition_rule text NOT NULL,
    label text NOT NULL,
    lines jsonb NOT NULL,
    amount numeric(18, 3) NOT NULL CHECK (amount > 0),
    decided_by uuid,
    decision_note text NOT NULL DEFAULT '',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX order_returns_of_order ON order_returns (order_id, id);
CREATE INDEX order_returns_by_status ON order_returns (status, id DESC);

-- What is sold, as catalog last told: one row for each SKU. Newer versions of a product win (rule 5).
CREATE TABLE sold_items (
    sku text PRIMARY KEY,
    product_id uuid NOT NULL,
    seller_id uuid,
    name text NOT NULL,
    price numeric(18, 3) NOT NULL CHECK (price >= 0),
    currency char(3) NOT NULL,
    active boolean NOT NULL,
    shippable boolean NOT NULL,
    max_per_order integer NOT NULL,
    reservation_policy text NOT NULL,
    version integer NOT NULL
);
CREATE INDEX sold_items_of_product ON sold_items (product_id);
