-- Who bought what, reviews with their votes, and the sum and count that the rating of a product is made of. Whoever changes a
-- review holds its product first (see 0001), then the review, then votes, then the rating.

-- What orders say of each line, newest version of the order only; `bought` is false where the line or the order was called off.
CREATE TABLE purchases (
    order_id uuid NOT NULL,
    product_id uuid NOT NULL,
    user_id uuid NOT NULL,
    bought boolean NOT NULL,
    version integer NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
CREATE INDEX purchases_of_user ON purchases (user_id, product_id);

-- A removed review stays as an empty row, so that its versions go on and its author may write a new one.
CREATE TABLE reviews (
    id uuid PRIMARY KEY,
    product_id uuid NOT NULL REFERENCES products,
    author_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('PENDING', 'APPROVED', 'REJECTED', 'REMOVED')),
    rating smallint NOT NULL CHECK (rating BETWEEN 1 AND 5),
    title text NOT NULL CHECK (char_length(title) <= 120),
    text text NOT NULL CHECK (char_length(text) <= 5000),
    reason text NOT NULL DEFAULT '' CHECK (char_length(reason) <= 500),
    helpful integer NOT NULL DEFAULT 0 CHECK (helpful >= 0),
    unhelpful integer NOT NULL DEFAULT 0 CHECK (unhelpful >= 0),
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (status <> 'REMOVED' OR (title = '' AND text = ''))
);
CREATE UNIQUE INDEX reviews_one_each ON reviews (product_id, author_id) WHERE status <> 'REMOVED';
CREATE INDEX reviews_shown ON reviews (product_id, id) WHERE status = 'APPROVED';
CREATE INDEX reviews_waiting ON reviews (status, id);
CREATE INDEX reviews_of_author ON reviews (author_id, id);

CREATE TABLE review_votes (
    review_id uuid NOT NULL REFERENCES reviews,
    user_id uuid NOT NULL,
    helpful boolean NOT NULL,
    PRIMARY KEY (review_id, user_id)
);
CREATE INDEX review_votes_of_user ON review_votes (user_id);

-- What approved reviews add up to; the average in `products` is made of it in the same transaction.
CREATE TABLE product_ratings (
    product_id uuid PRIMARY KEY REFERENCES products,
    rating_sum bigint NOT NULL,
    rating_count integer NOT NULL CHECK (rating_count >= 0),
    CHECK (rating_sum BETWEEN rating_count AND 5 * rating_count)
);
