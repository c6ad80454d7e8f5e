-- Endpoints of integrators, what each wanted when, and the deliveries of events to them. Whoever changes an endpoint holds the row of
-- webhook_sequence, as whoever stores events does: so there is a last event before each change and a first after it.

CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    url text NOT NULL,
    description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 200),
    -- Or '*' alone.
    event_types text[] NOT NULL CHECK (cardinality(event_types) > 0),
    enabled boolean NOT NULL DEFAULT true,
    disabled_reason text CHECK (disabled_reason IN ('staff', 'gone')),
    disabled_at timestamptz,
    -- A replay under way: the events after the one number up to the other are looked at again.
    replay_after bigint,
    replay_until bigint CHECK ((replay_after IS NULL) = (replay_until IS NULL)),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- It stays until its deliveries are forgotten.
    deleted_at timestamptz,
    CHECK (enabled = (disabled_reason IS NULL)),
    CHECK (enabled = (disabled_at IS NULL)),
    CHECK (deleted_at IS NULL OR NOT enabled)
) WITH (fillfactor = 85);

-- A secret is derived from the platform's root secret and a salt, so that the database alone opens nothing.
CREATE TABLE webhook_secrets (
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints,
    number integer NOT NULL CHECK (number > 0),
    salt bytea NOT NULL CHECK (octet_length(salt) = 32),
    -- Until when it signs; the newest has no end.
    ends_at timestamptz,
    PRIMARY KEY (endpoint_id, number)
);

-- Which types an endpoint wanted of the events after the one number up to the other; the open stretch has no end.
CREATE TABLE webhook_wants (
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints,
    after_number bigint NOT NULL,
    until_number bigint CHECK (until_number > after_number),
    event_types text[] NOT NULL,
    PRIMARY KEY (endpoint_id, after_number)
);
CREATE UNIQUE INDEX webhook_wants_open ON webhook_wants (endpoint_id) WHERE until_number IS NULL;

CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints,
    -- Tests belong to no stored event and bring their own body.
    event_number bigint REFERENCES webhook_events,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    test_body bytea,
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'PROCESSED', 'FAILED', 'DEAD', 'ENDED')),
    -- Counts posts; tells a lease from later ones.
    attempt bigint NOT NULL DEFAULT 0,
    -- Failed tries of this life; staff can give another.
    retry_count integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    -- When it is due; while it is posted, when its lease ends.
    next_retry_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status_code integer,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    processed_at timestamptz,
    CONSTRAINT webhook_deliveries_one_each UNIQUE (event_number, endpoint_id),
    CHECK ((event_number IS NULL) = (test_body IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_retry_at, id) WHERE status IN ('PENDING', 'FAILED');
CREATE INDEX webhook_deliveries_of_endpoint ON webhook_deliveries (endpoint_id, id);
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (endpoint_id, id) WHERE status IN ('PENDING', 'FAILED');
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (id) WHERE status = 'DEAD';
CREATE INDEX webhook_deliveries_tests ON webhook_deliveries (id) WHERE event_number IS NULL;
