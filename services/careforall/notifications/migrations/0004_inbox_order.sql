-- A message's id is as old as the fact it tells, which may come into the inbox after younger ones: streams go on by when it came.

CREATE INDEX in_app_messages_came ON in_app_messages (user_id, created_at, id);
