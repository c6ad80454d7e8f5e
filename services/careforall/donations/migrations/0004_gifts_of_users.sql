-- Who is erased leaves no gift with their name, under whatever mail they gave it.

CREATE INDEX donations_by_user ON donations (user_id) WHERE user_id IS NOT NULL;
