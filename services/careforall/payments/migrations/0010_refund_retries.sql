-- Who works on a refund and when it is tried again by itself are two things: a person who repeats an order waits only for the first.

ALTER TABLE refunds ADD COLUMN retry_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE refunds ALTER COLUMN retry_at SET DEFAULT clock_timestamp();
DROP INDEX refunds_pending;
CREATE INDEX refunds_pending ON refunds (retry_at) WHERE status = 'PENDING';
