-- What integrators may hear, kept for 30 days, numbered without holes in the order in which it can be read: the one row of
-- webhook_sequence is locked until COMMIT, so that whoever sees a number sees all lower ones, too.

CREATE TABLE webhook_sequence (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    last bigint NOT NULL DEFAULT 0,
    -- Up to here events were forgotten.
    pruned bigint NOT NULL DEFAULT 0 CHECK (pruned BETWEEN 0 AND last)
) WITH (fillfactor = 10);
INSERT INTO webhook_sequence DEFAULT VALUES;

CREATE TABLE webhook_events (
    number bigint PRIMARY KEY CHECK (number > 0),
    event_id uuid NOT NULL UNIQUE,
    event_type text NOT NULL,
    object_id uuid NOT NULL,
    -- As it is sent and listed, byte for byte.
    body bytea NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX webhook_events_of_type ON webhook_events (event_type, number);
CREATE INDEX webhook_events_by_age ON webhook_events (stored_at);
