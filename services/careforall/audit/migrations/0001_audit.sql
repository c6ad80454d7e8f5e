-- Every event of the platform, once, and the chain that shows a changed, removed or inserted one.

CREATE TABLE audit_events (
    event_id uuid PRIMARY KEY,
    -- The batch it came in; one link of the chain commits to each batch.
    batch_id uuid NOT NULL,
    event_type text NOT NULL,
    version integer NOT NULL,
    aggregate_id uuid NOT NULL,
    aggregate_version bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    correlation_id text NOT NULL,
    source text NOT NULL,
    trace_id text NOT NULL,
    -- The payload without its personal parts, byte for byte as it went into the leaf.
    body bytea NOT NULL,
    -- SHA-256(salt || personal parts): stays when salt and parts are erased, and tells nothing without the salt.
    commitment bytea NOT NULL,
    salt bytea,
    personal bytea,
    -- Keyed hash of the mail that the personal parts belong to; finds them for the erasure.
    person bytea,
    CHECK ((salt IS NULL) = (personal IS NULL))
);
CREATE INDEX audit_events_batch ON audit_events (batch_id);
CREATE INDEX audit_events_aggregate ON audit_events (aggregate_id, event_id DESC);
CREATE INDEX audit_events_correlation ON audit_events (correlation_id, event_id DESC);
CREATE INDEX audit_events_type ON audit_events (event_type, event_id DESC);
CREATE INDEX audit_events_person ON audit_events (person) WHERE person IS NOT NULL;

CREATE TABLE audit_links (
    number bigint PRIMARY KEY CHECK (number > 0),
    batch_id uuid NOT NULL UNIQUE,
    count integer NOT NULL CHECK (count > 0),
    root bytea NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);

-- The signed head of each day: what an auditor keeps elsewhere.
CREATE TABLE audit_heads (
    day date PRIMARY KEY,
    number bigint NOT NULL REFERENCES audit_links,
    hash bytea NOT NULL,
    signature bytea NOT NULL,
    public_key bytea NOT NULL,
    exported_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- People erased, by keyed hash of their mail; events from before, should they still come in, are stored without their parts.
CREATE TABLE audit_erasures (
    person bytea PRIMARY KEY,
    erased_at timestamptz NOT NULL
);

-- Where the continuous verification goes on, and what its last run found.
CREATE TABLE verification_marks (
    name text PRIMARY KEY,
    reached text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE verification_reports (
    id uuid PRIMARY KEY,
    ok boolean NOT NULL,
    hash text NOT NULL,
    report jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name USING ERRCODE = '23514';
END
$$;
CREATE TRIGGER audit_links_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_links
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_heads_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_events_append_only BEFORE DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The one change an event may see: its personal parts go.
CREATE FUNCTION allow_erasure_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.salt IS NOT NULL OR new.personal IS NOT NULL OR new.person IS NOT NULL
       OR (new.event_id, new.batch_id, new.event_type, new.version, new.aggregate_id, new.aggregate_version, new.occurred_at,
           new.correlation_id, new.source, new.trace_id, new.body, new.commitment)
          IS DISTINCT FROM
          (old.event_id, old.batch_id, old.event_type, old.version, old.aggregate_id, old.aggregate_version, old.occurred_at,
           old.correlation_id, old.source, old.trace_id, old.body, old.commitment) THEN
        RAISE EXCEPTION 'audit_events is append-only but for erasure' USING ERRCODE = '23514';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER audit_events_erasure BEFORE UPDATE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION allow_erasure_only();
