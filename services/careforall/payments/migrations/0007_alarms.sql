-- Who looked at an alarm and what came of it; empty where it settled by itself.
ALTER TABLE payment_alarms
    ADD COLUMN settled_by text NOT NULL DEFAULT '',
    ADD COLUMN note text NOT NULL DEFAULT '' CHECK (char_length(note) <= 1000);
