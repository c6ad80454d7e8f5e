-- Disputes: what payers' banks want back, each with its own id at the gateway (rule 13). An intent knows their sum, so that its net
-- needs no second look, and the campaign it is for, so that the ledger can tell campaigns apart.
-- No CHECK bounds the sum: a settled fact must be believed, and may reach us before the one that made room for it.

ALTER TABLE payment_intents
    ADD COLUMN disputed_amount numeric(18, 3) NOT NULL DEFAULT 0 CHECK (disputed_amount >= 0),
    ADD COLUMN campaign_id uuid;

CREATE TABLE disputes (
    id uuid PRIMARY KEY,
    intent_id uuid NOT NULL REFERENCES payment_intents,
    gateway text NOT NULL,
    gateway_dispute_id text NOT NULL,
    amount numeric(18, 3) NOT NULL CHECK (amount > 0),
    status text NOT NULL CHECK (status IN ('OPEN', 'WON', 'LOST')),
    parked boolean NOT NULL DEFAULT false,
    reason text NOT NULL DEFAULT '',
    opened_at timestamptz NOT NULL,
    settled_at timestamptz,
    CONSTRAINT disputes_once UNIQUE (intent_id, gateway_dispute_id),
    CHECK ((settled_at IS NULL) = (status = 'OPEN'))
);

-- A decided dispute stays decided, and its amount is what it was opened for.
CREATE FUNCTION check_dispute_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.amount <> new.amount OR (old.status <> new.status AND old.status <> 'OPEN') THEN
        RAISE EXCEPTION 'illegal step of a dispute: % % to % %', old.status, old.amount, new.status, new.amount
            USING ERRCODE = '23514', CONSTRAINT = 'legal_dispute_step';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER disputes_step BEFORE UPDATE ON disputes
    FOR EACH ROW EXECUTE FUNCTION check_dispute_step();
