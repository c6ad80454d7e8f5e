-- A share of a small table is a handful of rows: without a least number a busy young outbox is vacuumed every minute for nothing.

ALTER TABLE outbox SET (autovacuum_vacuum_threshold = 10000);
