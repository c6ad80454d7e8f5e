-- Stored answers quote the customer they made; they are found by the id they begin with when that customer is to be forgotten.

CREATE INDEX idempotency_keys_of_customer ON idempotency_keys (substring(body FROM 8 FOR 36)) WHERE scope LIKE 'POST /customers|%';
