-- The simulated gateway's own books: what a payment company would keep about us, so that tests can ask it for the truth.
-- Amounts are whole numbers of the currency's smallest unit, as such companies count.

CREATE TABLE payment_intents (
    id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    amount bigint NOT NULL CHECK (amount > 0),
    amount_capturable bigint NOT NULL DEFAULT 0 CHECK (amount_capturable BETWEEN 0 AND amount),
    amount_received bigint NOT NULL DEFAULT 0 CHECK (amount_received BETWEEN 0 AND amount),
    amount_refunded bigint NOT NULL DEFAULT 0 CHECK (amount_refunded BETWEEN 0 AND amount_received),
    currency text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    status text NOT NULL CHECK (status IN ('requires_payment_method', 'requires_capture', 'succeeded', 'canceled')),
    capture_method text NOT NULL CHECK (capture_method IN ('automatic', 'manual')),
    metadata jsonb NOT NULL,
    intent_id text GENERATED ALWAYS AS (metadata ->> 'intent_id') STORED,
    return_url text NOT NULL,
    latest_charge text,
    decline_code text,
    cancellation_reason text,
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (status = 'succeeded' OR amount_received = 0),
    CHECK (status = 'requires_capture' OR amount_capturable = 0)
) WITH (fillfactor = 85);
CREATE INDEX payment_intents_by_ours ON payment_intents (intent_id, number DESC);
CREATE INDEX payment_intents_by_time ON payment_intents (created);

-- Whatever the code believes: money that came in stays in sight, and an intent that ended stays ended.
CREATE FUNCTION check_intent_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.status <> new.status AND NOT (
        (old.status = 'requires_payment_method' AND new.status IN ('requires_capture', 'succeeded', 'canceled'))
        OR (old.status = 'requires_capture' AND new.status IN ('succeeded', 'canceled'))
    ) THEN
        RAISE EXCEPTION 'illegal step of a gateway intent: % to %', old.status, new.status USING ERRCODE = '23514';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER payment_intents_step BEFORE UPDATE OF status ON payment_intents
    FOR EACH ROW EXECUTE FUNCTION check_intent_step();

CREATE TABLE refunds (
    id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    payment_intent text NOT NULL REFERENCES payment_intents,
    charge text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    reason text,
    status text NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
    metadata jsonb NOT NULL,
    created timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX refunds_by_intent ON refunds (payment_intent, number DESC);
CREATE INDEX refunds_by_time ON refunds (created);

CREATE TABLE disputes (
    id text PRIMARY KEY,
    payment_intent text NOT NULL UNIQUE REFERENCES payment_intents,
    charge text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    status text NOT NULL CHECK (status IN ('needs_response', 'won', 'lost')),
    created timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Events are written with the change they tell of and delivered later; how one misbehaves is decided when it is written.
CREATE TABLE events (
    id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    type text NOT NULL,
    payment_intent text NOT NULL REFERENCES payment_intents,
    body bytea NOT NULL,
    state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'DROPPED', 'GIVEN_UP')),
    copies smallint NOT NULL DEFAULT 1 CHECK (copies > 0),
    bad_signatures smallint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    last_outcome text NOT NULL DEFAULT '',
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz
) WITH (fillfactor = 85);
CREATE INDEX events_due ON events (due_at, number) WHERE state = 'PENDING';
CREATE INDEX events_by_intent ON events (payment_intent, number);

-- One row: how the company misbehaves just now. Chances are drawn from the seed and the intents counted from `since`.
CREATE TABLE switches (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    settings jsonb NOT NULL DEFAULT '{}',
    since bigint NOT NULL DEFAULT 0
);
INSERT INTO switches DEFAULT VALUES;
