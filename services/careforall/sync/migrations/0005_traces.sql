-- Which trace a delivery belongs to: that of the change which made it.

ALTER TABLE deliveries ADD COLUMN traceparent text;
ALTER TABLE webhook_deliveries ADD COLUMN traceparent text;
