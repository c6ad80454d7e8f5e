-- How far the stream had come when the relay last heard of it: one that is shorter has lost its newest messages.

ALTER TABLE relay_state ADD COLUMN last_sequence bigint NOT NULL DEFAULT 0;
