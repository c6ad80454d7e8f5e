-- That money is held was once kept as the answer of a step that should take it or let it go, where its gateway could not be asked at
-- that moment; whoever asked for the step again heard the same for ever. Without an answer it is done when it is asked for again.

UPDATE payment_steps
SET answer = NULL, answered_at = NULL
WHERE what <> 'AUTHORIZE' AND answer LIKE convert_to('%"outcome":"AUTHORIZED"%', 'UTF8');
