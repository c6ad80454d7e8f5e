-- Totals of campaigns, folded from donation events: the base (one row per donation), exact counters that move in the same
-- transaction, and views as the reference the counters are checked against. Donors are keyed hashes, never names or mails.
-- One currency per campaign: what cannot be added up is refused. No foreign keys to campaigns: events come in any order.

CREATE TABLE campaigns (
    campaign_id uuid PRIMARY KEY,
    currency text NOT NULL CHECK (length(currency) = 3),
    status text NOT NULL CHECK (status IN ('DRAFT', 'LIVE', 'PAUSED', 'ENDED')),
    version bigint NOT NULL CHECK (version >= 0)
);

CREATE TABLE completed_donations (
    donation_id uuid PRIMARY KEY,
    campaign_id uuid NOT NULL,
    donor_key text NOT NULL,
    currency text NOT NULL CHECK (length(currency) = 3),
    amount numeric(18, 3) NOT NULL CHECK (amount > 0),
    refunded_amount numeric(18, 3) NOT NULL CHECK (refunded_amount >= 0),
    disputed_amount numeric(18, 3) NOT NULL DEFAULT 0 CHECK (disputed_amount >= 0), -- moved by disputes alone, never by donations
    anonymous boolean NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    completed_at timestamptz, -- null while only a refund has arrived
    updated_at timestamptz NOT NULL
);
-- Recounts a campaign without touching the table; ids are sorted by time, so inserts stay at the right edge of a campaign.
CREATE INDEX completed_donations_campaign ON completed_donations (campaign_id, donation_id)
    INCLUDE (donor_key, currency, amount, refunded_amount, disputed_amount, version, updated_at);

CREATE TABLE campaign_donors (
    campaign_id uuid NOT NULL,
    donor_key text NOT NULL,
    gifts bigint NOT NULL CHECK (gifts > 0),
    amount numeric(30, 3) NOT NULL CHECK (amount > 0),
    PRIMARY KEY (campaign_id, donor_key)
) WITH (fillfactor = 80);

-- An upsert checks the moved-by amounts as if they were a row, so only what never falls has a lower bound here.
CREATE TABLE campaign_totals (
    campaign_id uuid PRIMARY KEY,
    currency text NOT NULL CHECK (length(currency) = 3),
    total_amount numeric(30, 3) NOT NULL CHECK (total_amount >= 0),
    refunded_amount numeric(30, 3) NOT NULL,
    disputed_amount numeric(30, 3) NOT NULL DEFAULT 0,
    total_donations bigint NOT NULL CHECK (total_donations >= 0),
    unique_donors bigint NOT NULL CHECK (unique_donors BETWEEN 0 AND total_donations),
    last_updated timestamptz NOT NULL,
    revision bigint NOT NULL CHECK (revision > 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Grouped by donor first: two hash aggregates are cheaper than a sort for count(DISTINCT).
CREATE MATERIALIZED VIEW campaign_totals_mv AS
SELECT campaign_id,
       min(currency) AS currency,
       sum(amount) AS total_amount,
       sum(refunded_amount) AS refunded_amount,
       sum(disputed_amount) AS disputed_amount,
       sum(gifts)::bigint AS total_donations,
       count(*) AS unique_donors,
       max(updated_at) AS last_updated,
       sum(versions)::bigint AS revision
FROM (
    SELECT campaign_id, donor_key, min(currency) AS currency, sum(amount) AS amount, sum(refunded_amount) AS refunded_amount,
           sum(disputed_amount) AS disputed_amount, count(*) AS gifts, max(updated_at) AS updated_at, sum(version) AS versions
    FROM completed_donations
    GROUP BY campaign_id, donor_key
) AS donors
GROUP BY campaign_id;
CREATE UNIQUE INDEX campaign_totals_mv_campaign ON campaign_totals_mv (campaign_id);

CREATE MATERIALIZED VIEW campaign_days_mv AS
SELECT campaign_id,
       (coalesce(completed_at, updated_at) AT TIME ZONE 'UTC')::date AS day,
       sum(amount) AS total_amount,
       sum(refunded_amount) AS refunded_amount,
       count(*) AS total_donations
FROM completed_donations
GROUP BY 1, 2;
CREATE UNIQUE INDEX campaign_days_mv_day ON campaign_days_mv (campaign_id, day);

CREATE MATERIALIZED VIEW campaign_top_donors_mv AS
SELECT campaign_id, place, donor_key, gifts, amount
FROM (
    SELECT campaign_id, donor_key, gifts, amount,
           row_number() OVER (PARTITION BY campaign_id ORDER BY amount DESC, donor_key) AS place
    FROM campaign_donors
) AS ranked
WHERE place <= 10;
CREATE UNIQUE INDEX campaign_top_donors_mv_place ON campaign_top_donors_mv (campaign_id, place);

CREATE TABLE view_refreshes (
    view text PRIMARY KEY,
    refreshed_at timestamptz NOT NULL
);
INSERT INTO view_refreshes (view, refreshed_at)
SELECT view, clock_timestamp() FROM unnest(ARRAY['campaign_totals', 'campaign_days', 'campaign_top_donors']) AS view;

-- What the nightly comparison of counters, view and base found: one row a run, one row a difference.
CREATE TABLE total_comparisons (
    id uuid PRIMARY KEY,
    compared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    campaigns bigint NOT NULL,
    differences bigint NOT NULL
);
CREATE INDEX total_comparisons_time ON total_comparisons (compared_at);
CREATE TABLE total_differences (
    id uuid PRIMARY KEY,
    comparison_id uuid NOT NULL REFERENCES total_comparisons (id),
    campaign_id uuid NOT NULL,
    source text NOT NULL CHECK (source IN ('base_table', 'materialized_view')),
    counted text,
    found text,
    UNIQUE (comparison_id, campaign_id, source)
);
