-- How many mails went to an address lately is asked for each pledge: an address of many messages must not be read whole.

CREATE INDEX notifications_recipient_recent ON notifications (lower(recipient), created_at);
DROP INDEX notifications_recipient;
