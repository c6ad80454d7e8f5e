-- What payers' banks hold back or took (rule 13): lowers the net of a gift and never its status. It may fall again, so the version
-- of the payment that told of it decides which word is the newer one.

ALTER TABLE donations
    ADD COLUMN disputed_amount numeric(18, 3) NOT NULL DEFAULT 0 CHECK (disputed_amount >= 0),
    ADD COLUMN dispute_version integer NOT NULL DEFAULT 0,
    ADD CHECK (disputed_amount <= amount),
    ADD CHECK (status IN ('COMPLETED', 'REFUNDED') OR disputed_amount = 0);

ALTER TABLE donation_history ADD COLUMN disputed_amount numeric(18, 3) NOT NULL DEFAULT 0;
