-- Numbers that no event ever gets. Integrators have read further than a restored database knows; what it tells next must be new to
-- them, so numbering goes on far behind whatever was given before.

CREATE TABLE webhook_gaps (
    after_number bigint PRIMARY KEY,
    until_number bigint NOT NULL CHECK (until_number > after_number)
);

CREATE FUNCTION leave_webhook_gap(numbers bigint) RETURNS bigint LANGUAGE sql AS $$
    WITH moved AS (UPDATE webhook_sequence SET last = last + numbers RETURNING last)
    INSERT INTO webhook_gaps SELECT last - numbers, last FROM moved RETURNING until_number
$$;
