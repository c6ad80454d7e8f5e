-- What every service needs to talk without losing or doubling: outbox, inbox, dead letters, idempotency keys.

CREATE TABLE outbox (
    id uuid PRIMARY KEY,
    event_type text NOT NULL,
    aggregate_id uuid NOT NULL,
    payload bytea NOT NULL,
    traceparent text,
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'PROCESSED', 'FAILED', 'DEAD')),
    retry_count integer NOT NULL DEFAULT 0,
    max_retries integer NOT NULL DEFAULT 5,
    next_retry_at timestamptz,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    stream_sequence bigint
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, fillfactor = 85);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE status IN ('PENDING', 'FAILED');
CREATE INDEX outbox_dead ON outbox (id) WHERE status = 'DEAD';
CREATE INDEX outbox_aggregate ON outbox (aggregate_id);

-- One row: its update is the relay's claim (its own commit proves that what it read is durable) and its memory of the broker.
CREATE TABLE relay_state (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    claims bigint NOT NULL DEFAULT 0,
    published bigint NOT NULL DEFAULT 0,
    stream_created timestamptz,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO relay_state DEFAULT VALUES;

CREATE TABLE inbox (
    consumer text NOT NULL,
    message_id uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, message_id)
);

CREATE TABLE message_failures (
    consumer text NOT NULL,
    message_key text NOT NULL,
    attempts integer NOT NULL,
    error_message text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer, message_key)
);

CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    consumer text NOT NULL,
    event_type text NOT NULL,
    message_key text NOT NULL,
    aggregate_id uuid,
    payload bytea NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL,
    status text NOT NULL DEFAULT 'DEAD' CHECK (status IN ('DEAD', 'RETRY', 'RETRIED', 'DISCARDED')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,
    UNIQUE (consumer, message_key)
);
CREATE INDEX dead_letters_open ON dead_letters (consumer, id) WHERE status IN ('DEAD', 'RETRY');

CREATE TABLE idempotency_keys (
    scope text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, key)
);
