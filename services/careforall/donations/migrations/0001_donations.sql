-- Campaigns, donations and every transition of a donation. Unpartitioned: intent ids must be unique for ever (rule 3).

CREATE TABLE campaigns (
    id uuid PRIMARY KEY,
    title text NOT NULL CHECK (char_length(title) BETWEEN 1 AND 200),
    story text NOT NULL DEFAULT '' CHECK (char_length(story) <= 20000),
    goal numeric(18, 3) NOT NULL CHECK (goal > 0),
    currency char(3) NOT NULL,
    status text NOT NULL CHECK (status IN ('DRAFT', 'LIVE', 'PAUSED', 'ENDED')),
    starts_at timestamptz,
    ends_at timestamptz,
    suggested_amounts numeric(18, 3)[] NOT NULL DEFAULT '{}',
    minimum numeric(18, 3) CHECK (minimum > 0),
    maximum numeric(18, 3) CHECK (maximum > 0),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (starts_at IS NULL OR ends_at IS NULL OR starts_at < ends_at),
    CHECK (minimum IS NULL OR maximum IS NULL OR minimum <= maximum)
);
CREATE INDEX campaigns_by_status ON campaigns (status, id DESC);

CREATE TABLE donations (
    id uuid PRIMARY KEY,
    campaign_id uuid NOT NULL REFERENCES campaigns,
    intent_id uuid NOT NULL CONSTRAINT donations_intent UNIQUE,
    donor_email text NOT NULL,
    donor_key text NOT NULL,
    donor_name text NOT NULL DEFAULT '',
    user_id uuid,
    anonymous boolean NOT NULL DEFAULT false,
    message text NOT NULL DEFAULT '',
    amount numeric(18, 3) NOT NULL CHECK (amount > 0),
    refunded_amount numeric(18, 3) NOT NULL DEFAULT 0 CHECK (refunded_amount >= 0),
    currency char(3) NOT NULL,
    gateway text NOT NULL,
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'COMPLETED', 'FAILED', 'REFUNDED')),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    payment_version integer NOT NULL DEFAULT 0,
    extra_data jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,
    CHECK (refunded_amount <= amount),
    CHECK (status IN ('COMPLETED', 'REFUNDED') OR refunded_amount = 0)
) WITH (fillfactor = 85);
CREATE INDEX donations_by_donor ON donations (donor_key, id DESC);
CREATE INDEX donations_by_campaign ON donations (campaign_id, id DESC);

CREATE TABLE donation_history (
    donation_id uuid NOT NULL REFERENCES donations,
    version integer NOT NULL,
    from_status text,
    to_status text NOT NULL,
    cause_event uuid,
    cause text NOT NULL,
    refunded_amount numeric(18, 3) NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (donation_id, version)
);

-- History is written once.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name;
END
$$;
CREATE TRIGGER donation_history_append_only BEFORE UPDATE OR DELETE ON donation_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- States only move forward, whatever the code believes.
CREATE FUNCTION check_donation_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.status <> new.status AND NOT (
        (old.status = 'PENDING' AND new.status IN ('COMPLETED', 'FAILED'))
        OR (old.status = 'COMPLETED' AND new.status = 'REFUNDED')
    ) THEN
        RAISE EXCEPTION 'illegal step of a donation: % to %', old.status, new.status USING ERRCODE = '23514';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER donations_step BEFORE UPDATE OF status ON donations
    FOR EACH ROW EXECUTE FUNCTION check_donation_step();

-- Mails that an account has proven to own: their donations show in the account's history.
CREATE TABLE verified_donors (
    donor_key text PRIMARY KEY,
    user_id uuid NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
