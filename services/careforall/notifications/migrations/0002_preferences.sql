-- Preferences belong to accounts and come by event: which one is the newest, and whether the in-app inbox is wanted.

ALTER TABLE people ADD COLUMN preferred_at timestamptz;
ALTER TABLE people ADD COLUMN in_app boolean NOT NULL DEFAULT true;
