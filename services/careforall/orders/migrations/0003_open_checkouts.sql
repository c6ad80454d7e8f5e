-- A new checkout of a cart takes the place of those that wait for their buyer.

CREATE INDEX saga_state_open_of_user ON saga_state (user_id) WHERE lease_until IS NOT NULL;
