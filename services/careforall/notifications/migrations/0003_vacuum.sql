-- As for the outbox: a share alone has a young table vacuumed, with all its indexes, every minute under load.

ALTER TABLE notifications SET (autovacuum_vacuum_threshold = 10000);
