-- Answers of steps are forgotten after 90 days, as those of other keys, where their payment has come to its end: then its state says
-- the same as the answer did. What makes an effect happen once (rule 8) are rows of their own, which stay.

CREATE INDEX payment_steps_by_age ON payment_steps USING brin (answered_at);
