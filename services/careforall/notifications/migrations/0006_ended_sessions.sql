-- A ticket opens no stream for whoever was suspended since the token with which they asked for it was issued.

ALTER TABLE stream_tickets ADD COLUMN issued_at timestamptz NOT NULL DEFAULT clock_timestamp();
