-- What was given while signed in is forgotten with the account, also where its mail was never proved.

CREATE INDEX donations_of_user ON donations (user_id) WHERE user_id IS NOT NULL;
