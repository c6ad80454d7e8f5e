-- Customers, and for each customer and target one row of what has still to be carried there: only the newest version, in one
-- queue a customer, so that nothing overtakes.

CREATE TABLE customers (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    name text NOT NULL DEFAULT '' CHECK (char_length(name) <= 200),
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz,
    -- Of somebody deleted nothing is left but that they were here, so that the deletion can be carried out.
    CHECK (CASE WHEN deleted_at IS NULL THEN email <> '' ELSE (email, name, metadata) = ('', '', '{}'::jsonb) END)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX customers_email ON customers (email) WHERE deleted_at IS NULL;

-- The columns of an outbox, because the operations endpoints show them alike; a row is one customer at one target.
CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    aggregate_id uuid NOT NULL REFERENCES customers,
    target text NOT NULL,
    event_type text NOT NULL CHECK (event_type IN ('customer.created', 'customer.updated', 'customer.deleted')),
    -- The newest version; what the target holds, by its latest answer or its own word; what our note in the object says.
    version integer NOT NULL CHECK (version > 0),
    carried_version integer NOT NULL DEFAULT 0 CHECK (carried_version BETWEEN 0 AND version),
    noted_version integer NOT NULL DEFAULT 0 CHECK (noted_version BETWEEN 0 AND carried_version),
    carried jsonb,
    external_id text CHECK (external_id <> ''),
    -- The call under way or without an answer yet: it is repeated as it is, under the same key, until there is one.
    payload jsonb,
    called_at timestamptz,
    keyed_version integer NOT NULL DEFAULT 0,
    key_number integer NOT NULL DEFAULT 0,
    attempt bigint NOT NULL DEFAULT 0,
    leased_until timestamptz,
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'PROCESSED', 'FAILED', 'DEAD')),
    retry_count integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    max_retries integer NOT NULL DEFAULT 5 CHECK (max_retries > 0),
    next_retry_at timestamptz,
    error_message text,
    -- Since when the newest version waits.
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    processed_at timestamptz,
    -- When the target said what was last taken over from it.
    told_at timestamptz,
    CONSTRAINT deliveries_one_each UNIQUE (aggregate_id, target),
    CONSTRAINT deliveries_external UNIQUE (target, external_id),
    CHECK (status <> 'PROCESSED' OR (carried_version = version AND payload IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX deliveries_due ON deliveries (target, next_retry_at NULLS FIRST, id) WHERE status IN ('PENDING', 'FAILED');
CREATE INDEX deliveries_dead ON deliveries (id) WHERE status = 'DEAD';

-- What targets told us, each event once for ever, and what became of it.
CREATE TABLE inbound_events (
    target text NOT NULL,
    event_id text NOT NULL CHECK (event_id <> ''),
    event_type text NOT NULL,
    external_id text NOT NULL,
    customer_id uuid,
    status text NOT NULL CHECK (status IN ('processed', 'ignored')),
    reason text,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (target, event_id)
);
