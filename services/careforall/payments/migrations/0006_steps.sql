-- Steps that the checkout asks for (authorise, capture, cancel, refund), by the asker's id: a step asked for again is answered as the
-- first time. Never pruned (rule 8). Without an answer it is not known yet, and asking again finds out.

CREATE TABLE payment_steps (
    step_id uuid PRIMARY KEY,
    intent_id uuid NOT NULL,
    what text NOT NULL CHECK (what IN ('AUTHORIZE', 'CAPTURE', 'CANCEL', 'REFUND')),
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at timestamptz
);
CREATE INDEX payment_steps_of_intent ON payment_steps (intent_id);

-- Orders are looked at as gifts are: whether who paid got what they paid for.
ALTER TABLE completion_marks DROP CONSTRAINT completion_marks_look_check;
ALTER TABLE completion_marks ADD CONSTRAINT completion_marks_look_check
    CHECK (look IN ('soon', 'late', 'last', 'orders soon', 'orders late', 'orders last'));
