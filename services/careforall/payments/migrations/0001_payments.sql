-- Payment intents with attempts, refunds, every transition, and the gateways' webhook events.
-- Tables keyed by a gateway's or caller's key are never partitioned (rule 3); only raw bodies may be, by our own ids.

CREATE TABLE payment_intents (
    id uuid PRIMARY KEY,
    subject_type text NOT NULL CHECK (subject_type IN ('DONATION', 'ORDER')),
    subject_id uuid NOT NULL,
    title text NOT NULL DEFAULT '' CHECK (char_length(title) <= 300),
    user_id uuid,
    amount numeric(18, 3) NOT NULL CHECK (amount > 0),
    currency char(3) NOT NULL,
    gateway text NOT NULL CHECK (char_length(gateway) BETWEEN 1 AND 40),
    method text CHECK (method IN ('CARD', 'PAYPAL', 'UPI', 'WALLET')),
    livemode boolean NOT NULL DEFAULT false,
    status text NOT NULL DEFAULT 'INITIATED' CHECK (status IN ('INITIATED', 'AUTHORIZED', 'CAPTURED', 'FAILED', 'REFUNDED')),
    status_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    captured_amount numeric(18, 3) NOT NULL DEFAULT 0,
    refunded_amount numeric(18, 3) NOT NULL DEFAULT 0 CHECK (refunded_amount >= 0),
    declines integer NOT NULL DEFAULT 0,
    captured_via text NOT NULL DEFAULT '',
    gateway_object text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    correlation_id text NOT NULL DEFAULT '',
    traceparent text,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT captured_in_full CHECK (captured_amount IN (0, amount)),
    CONSTRAINT refunds_within_captured CHECK (refunded_amount <= captured_amount),
    CHECK ((status = 'CAPTURED') <= (captured_amount = amount))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX payment_intents_open_subject ON payment_intents (subject_type, subject_id)
    WHERE status NOT IN ('FAILED', 'REFUNDED');
CREATE INDEX payment_intents_expiring ON payment_intents (expires_at) WHERE status = 'INITIATED';

CREATE TABLE payment_attempts (
    intent_id uuid NOT NULL REFERENCES payment_intents,
    number integer NOT NULL,
    gateway text NOT NULL,
    status text NOT NULL CHECK (status IN ('INITIATED', 'OPEN', 'UNKNOWN', 'SUCCEEDED', 'FAILED')),
    gateway_object text NOT NULL DEFAULT '',
    redirect_url text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    code text NOT NULL DEFAULT '',
    asked integer NOT NULL DEFAULT 0,
    ask_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (intent_id, number),
    -- Number 0 is what we only heard of through the generic endpoint.
    CHECK (number > 0 OR (number = 0 AND gateway = 'generic'))
);
CREATE INDEX payment_attempts_open ON payment_attempts (ask_at) WHERE status IN ('INITIATED', 'OPEN', 'UNKNOWN');
CREATE INDEX payment_attempts_object ON payment_attempts (gateway_object) WHERE gateway_object <> '';

-- One row for each accepted step, written once. The state machine has no cycle, so a payment enters each state once at most.
CREATE TABLE payment_transitions (
    payment_id uuid NOT NULL REFERENCES payment_intents,
    from_status text NOT NULL,
    to_status text NOT NULL,
    version integer NOT NULL,
    cause text NOT NULL,
    event_id uuid,
    event_time timestamptz,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (payment_id, to_status),
    CONSTRAINT legal_step CHECK ((from_status, to_status) IN (
        ('INITIATED', 'AUTHORIZED'), ('INITIATED', 'FAILED'),
        ('AUTHORIZED', 'CAPTURED'), ('AUTHORIZED', 'FAILED'), ('AUTHORIZED', 'REFUNDED'),
        ('CAPTURED', 'REFUNDED')
    ))
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name USING ERRCODE = '23001';
END
$$;
CREATE TRIGGER payment_transitions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payment_transitions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- States only move forward, whatever the code believes. Steps taken together appear here as one.
CREATE FUNCTION check_payment_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (old.status, new.status) NOT IN (
        ('INITIATED', 'AUTHORIZED'), ('INITIATED', 'CAPTURED'), ('INITIATED', 'FAILED'), ('INITIATED', 'REFUNDED'),
        ('AUTHORIZED', 'CAPTURED'), ('AUTHORIZED', 'FAILED'), ('AUTHORIZED', 'REFUNDED'),
        ('CAPTURED', 'REFUNDED')
    ) THEN
        RAISE EXCEPTION 'illegal step of a payment: % to %', old.status, new.status
            USING ERRCODE = '23514', CONSTRAINT = 'legal_step';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER payment_intents_step BEFORE UPDATE OF status ON payment_intents
    FOR EACH ROW WHEN (old.status IS DISTINCT FROM new.status) EXECUTE FUNCTION check_payment_step();

CREATE TABLE refunds (
    id uuid PRIMARY KEY,
    intent_id uuid NOT NULL REFERENCES payment_intents,
    gateway text NOT NULL,
    gateway_refund_id text,
    amount numeric(18, 3) NOT NULL CHECK (amount > 0),
    status text NOT NULL CHECK (status IN ('PENDING', 'SUCCEEDED', 'FAILED')),
    parked boolean NOT NULL DEFAULT false,
    reason text NOT NULL DEFAULT '',
    requested_by text NOT NULL DEFAULT '',
    request_key text UNIQUE,
    request_hash bytea,
    answer bytea,
    lease_until timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,
    CONSTRAINT refunds_once UNIQUE (intent_id, gateway_refund_id)
);
CREATE INDEX refunds_pending ON refunds (lease_until) WHERE status = 'PENDING';

-- Keys are 'k:' + X-Idempotency-Key, 'e:' + the gateway's event id, or 's:' + SHA-256 of the body; never pruned.
CREATE TABLE webhook_events (
    gateway text NOT NULL,
    dedupe_key text NOT NULL,
    id uuid NOT NULL,
    body_hash bytea NOT NULL,
    event_type text NOT NULL DEFAULT '',
    payment_id uuid,
    outcome text NOT NULL CHECK (outcome IN ('PROCESSED', 'IGNORED', 'REJECTED', 'MALFORMED', 'EARLY')),
    reason text NOT NULL DEFAULT '',
    http_status smallint NOT NULL,
    answer bytea NOT NULL,
    event_time timestamptz,
    copies integer NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (gateway, dedupe_key)
);
CREATE INDEX webhook_events_payment ON webhook_events (payment_id) WHERE payment_id IS NOT NULL;

CREATE TABLE webhook_bodies (
    id uuid PRIMARY KEY,
    gateway text NOT NULL,
    body bytea NOT NULL
);

-- What a person must look at: facts that were stored and not applied.
CREATE TABLE payment_alarms (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    gateway text NOT NULL DEFAULT '',
    subject_key text NOT NULL,
    body_hash bytea NOT NULL DEFAULT '',
    payment_id uuid,
    detail text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,
    UNIQUE (kind, gateway, subject_key, body_hash)
);
CREATE INDEX payment_alarms_open ON payment_alarms (id) WHERE settled_at IS NULL;

-- The gateways' tokens for a payer's means of payment, never numbers.
CREATE TABLE payment_methods (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    gateway text NOT NULL,
    method text NOT NULL CHECK (method IN ('CARD', 'PAYPAL', 'UPI', 'WALLET')),
    gateway_token text NOT NULL,
    label text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (gateway, gateway_token)
);
