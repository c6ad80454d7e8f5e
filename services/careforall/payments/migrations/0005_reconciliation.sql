-- Reconciliation with gateways: what was compared, what was found and done, and which payments are to be looked at.
-- A run is a row before it is work, so that whoever dies with one leaves it to others.

CREATE TABLE reconciliation_runs (
    id uuid PRIMARY KEY,
    gateway text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('HOURLY', 'DAILY', 'ORDERED')),
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    reached timestamptz NOT NULL,
    dry_run boolean NOT NULL DEFAULT false,
    requested_by text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'REQUESTED' CHECK (status IN ('REQUESTED', 'RUNNING', 'FINISHED', 'STOPPED')),
    calls integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    CHECK (since < until),
    CHECK (reached BETWEEN since AND until),
    CHECK (status <> 'FINISHED' OR reached = until)
);
CREATE INDEX reconciliation_runs_open ON reconciliation_runs (id) WHERE status IN ('REQUESTED', 'RUNNING');
CREATE INDEX reconciliation_runs_of_gateway ON reconciliation_runs (gateway, kind, id DESC);

-- What agreed, per currency; added up slice by slice.
CREATE TABLE reconciliation_matches (
    run_id uuid NOT NULL REFERENCES reconciliation_runs,
    currency text NOT NULL,
    objects bigint NOT NULL,
    amount numeric(20, 3) NOT NULL,
    PRIMARY KEY (run_id, currency)
);

-- What did not agree, and what was done about it in the same transaction; written once.
CREATE TABLE reconciliation_findings (
    id uuid PRIMARY KEY,
    run_id uuid NOT NULL REFERENCES reconciliation_runs,
    gateway text NOT NULL,
    bucket text NOT NULL CHECK (bucket IN ('ours_only', 'theirs_only', 'amount_differs')),
    gateway_object text NOT NULL,
    payment_id uuid,
    currency text NOT NULL DEFAULT '',
    ours text NOT NULL DEFAULT '',
    theirs text NOT NULL DEFAULT '',
    action text NOT NULL CHECK (action IN ('none', 'applied', 'alarmed', 'settled')),
    detail text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_finding_each UNIQUE (run_id, gateway_object, bucket)
);
CREATE TRIGGER reconciliation_findings_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reconciliation_findings
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Payments an event did not fit: their gateway is asked soon.
CREATE TABLE reconciliation_looks (
    event_id uuid PRIMARY KEY,
    gateway text NOT NULL,
    gateway_object text NOT NULL,
    payment_id uuid,
    reason text NOT NULL,
    asked integer NOT NULL DEFAULT 0,
    ask_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz,
    outcome text NOT NULL DEFAULT ''
);
CREATE INDEX reconciliation_looks_due ON reconciliation_looks (ask_at) WHERE done_at IS NULL;

-- One row: up to which event misfits were read, and whether an operator stopped everything.
CREATE TABLE reconciliation_state (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    last_event uuid,
    stopped boolean NOT NULL DEFAULT false,
    stopped_by text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO reconciliation_state DEFAULT VALUES;

-- Up to which intent it was looked whether gifts are completed: soon after, once nobody can be late, a last time.
CREATE TABLE completion_marks (
    look text PRIMARY KEY CHECK (look IN ('soon', 'late', 'last')),
    reached uuid NOT NULL
);

CREATE INDEX webhook_events_misfits ON webhook_events (id)
    WHERE gateway <> 'generic' AND outcome IN ('IGNORED', 'REJECTED', 'EARLY');
CREATE INDEX payment_attempts_paid ON payment_attempts (gateway, created_at, intent_id)
    WHERE status = 'SUCCEEDED' AND gateway <> 'generic';
