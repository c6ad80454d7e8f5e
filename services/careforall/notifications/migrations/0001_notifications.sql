-- Messages to people: what is to be said to whom by which channel, how often it was tried, and what became of it.

CREATE TABLE notifications (
    id uuid PRIMARY KEY,
    cause_event_id uuid NOT NULL,
    -- What the message says, independent of the event that said it: a replayed or repeated fact meets its own row here.
    fact text,
    subject_id uuid NOT NULL,
    template text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('EMAIL', 'WEBHOOK', 'IN_APP')),
    recipient text NOT NULL CHECK (recipient <> ''),
    language text NOT NULL CHECK (language IN ('en', 'de')),
    user_id uuid,
    donor_key text,
    payload jsonb NOT NULL,
    status text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'SENT', 'FAILED', 'DEAD')),
    retry_count integer NOT NULL DEFAULT 0 CHECK (retry_count >= 0),
    next_retry_at timestamptz,
    leased_until timestamptz,
    error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at timestamptz,
    CONSTRAINT notifications_once UNIQUE (cause_event_id, template, recipient, channel),
    CONSTRAINT notifications_fact UNIQUE (fact, channel)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX notifications_due ON notifications (channel, id) WHERE status IN ('PENDING', 'FAILED');
CREATE INDEX notifications_dead ON notifications (id) WHERE status = 'DEAD';
CREATE INDEX notifications_subject ON notifications (subject_id, id DESC);
CREATE INDEX notifications_recipient ON notifications (lower(recipient));
CREATE INDEX notifications_user ON notifications (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX notifications_donor ON notifications (donor_key) WHERE donor_key IS NOT NULL;

-- Who has an account, for the in-app inbox and the language; a mail counts as theirs once it is verified.
CREATE TABLE people (
    user_id uuid PRIMARY KEY,
    email text NOT NULL,
    verified boolean NOT NULL DEFAULT false,
    version integer NOT NULL DEFAULT 0,
    language text CHECK (language IN ('en', 'de'))
);
CREATE INDEX people_email ON people (lower(email));

-- Erased people by pseudonymous key (donor key, user id): facts from before the erasure are not told any more.
CREATE TABLE erased_people (
    key text PRIMARY KEY,
    erased_at timestamptz NOT NULL
);

CREATE TABLE in_app_messages (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    subject_id uuid NOT NULL,
    template text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    read_at timestamptz
);
CREATE INDEX in_app_messages_user ON in_app_messages (user_id, id DESC);

-- The local mail provider: what would have been sent.
CREATE TABLE mailbox_messages (
    id uuid PRIMARY KEY,
    subject_id uuid NOT NULL,
    sender text NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    text_body text NOT NULL,
    html_body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX mailbox_messages_recipient ON mailbox_messages (lower(recipient), id DESC);
CREATE INDEX mailbox_messages_subject ON mailbox_messages (subject_id, id DESC);

-- Browsers cannot send headers with an event stream: a ticket of 30 seconds, used once, opens it instead.
CREATE TABLE stream_tickets (
    ticket_hash bytea PRIMARY KEY,
    user_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    session_ends_at timestamptz NOT NULL
);
