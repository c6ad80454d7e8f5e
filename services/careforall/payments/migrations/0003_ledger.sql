-- Double entry, append-only, one entry for each movement of money, in the transaction that records why it moved.
--
-- Accounts are text, because gateways and campaigns come and go without a migration. An amount above zero is what an account
-- receives, below zero what it gives. The chart:
--   gateway:<name>   what a gateway holds for us (clearing)
--   campaign:<id>    what was given to a campaign; `donations` where a gift's campaign was not told
--   sales            what orders brought
--   refunds          what went back; disputes: what payers' banks hold back or took. Two accounts and not the income's own, so that
--                    income stays gross as the totals do; whose they are is the campaign of their entry
--   fees             what gateways keep; nothing is booked there while no gateway tells its fees
--   unapplied        captured for an intent that had failed, until it is refunded (rule 10)

CREATE TABLE ledger_entries (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL REFERENCES payment_intents,
    kind text NOT NULL CHECK (kind IN ('CAPTURE', 'REFUND', 'DISPUTE', 'DISPUTE_WON', 'UNAPPLIED', 'UNAPPLIED_REFUND', 'FEE')),
    cause_key text NOT NULL,
    campaign_id uuid,
    livemode boolean NOT NULL,
    occurred_at timestamptz NOT NULL, -- by the gateway's clock
    booked_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- by ours: days are of this one, so that past days never change
    CONSTRAINT ledger_books_once UNIQUE (payment_id, kind, cause_key)
);
CREATE INDEX ledger_entries_booked ON ledger_entries (booked_at);

CREATE TABLE ledger_lines (
    entry_id uuid NOT NULL REFERENCES ledger_entries,
    account text NOT NULL CHECK (
        account ~ '^(gateway:[a-z][a-z0-9_]{0,39}|campaign:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$'
        OR account IN ('donations', 'sales', 'refunds', 'disputes', 'fees', 'unapplied')
    ),
    amount numeric(18, 3) NOT NULL CHECK (amount <> 0),
    currency char(3) NOT NULL,
    PRIMARY KEY (entry_id, account, currency)
);
CREATE INDEX ledger_lines_account ON ledger_lines (account, entry_id DESC);

CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_lines_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Looked at when the transaction commits, however its lines came to be. Its plan is one for all and uses the key: batches of
-- webhooks plan each statement afresh.
CREATE FUNCTION check_ledger_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ledger_lines WHERE entry_id = new.entry_id GROUP BY currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'the lines of ledger entry % do not add up to zero', new.entry_id
            USING ERRCODE = '23514', CONSTRAINT = 'ledger_adds_up';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER ledger_lines_add_up AFTER INSERT ON ledger_lines
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_ledger_entry();

-- Sums of what was booked before `reached`, so that a balance reads few rows. Written now and then by one job and never by a
-- payment: a row that every capture updates would make them wait for each other. The nil campaign stands for none.
CREATE TABLE ledger_balances (
    account text NOT NULL,
    currency char(3) NOT NULL,
    campaign_id uuid NOT NULL,
    livemode boolean NOT NULL,
    day date NOT NULL,
    amount numeric(30, 3) NOT NULL,
    PRIMARY KEY (account, currency, campaign_id, livemode, day)
);
CREATE INDEX ledger_balances_campaign ON ledger_balances (campaign_id, day);
CREATE TABLE ledger_rollup (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    reached timestamptz NOT NULL
);
INSERT INTO ledger_rollup (reached) VALUES ('1970-01-01 00:00:00+00');

-- A refund of money that came too late names the gateway's object it belongs to: the intent has none, or another one.
ALTER TABLE refunds
    ADD COLUMN unapplied boolean NOT NULL DEFAULT false,
    ADD COLUMN gateway_object text NOT NULL DEFAULT '';
