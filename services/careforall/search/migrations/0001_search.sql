-- What is known of products and stock, and the index made of it. `products` and `stock` are folded from events, newest version only;
-- `documents` and `offers` are made of them and may be made anew at any time (`careforall reindex`). Rows are taken in this order:
-- products (by id), stock (by SKU), documents, offers, words.

CREATE EXTENSION IF NOT EXISTS pg_trgm;  -- trusted: the owner of the database may create it

CREATE TABLE products (
    id uuid PRIMARY KEY,
    version integer NOT NULL,
    event bytea NOT NULL
);

CREATE TABLE stock (
    sku text PRIMARY KEY,
    available integer NOT NULL,
    version integer NOT NULL
) WITH (fillfactor = 70);

-- One row for each product that visitors may find: its text, and its words by weight.
CREATE TABLE documents (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    body text NOT NULL,
    words tsvector NOT NULL
);
CREATE INDEX documents_by_words ON documents USING gin (words);
CREATE INDEX documents_by_name ON documents USING gin (lower(name) gin_trgm_ops);

-- As in the catalog: filters and facets look at these rows alone.
CREATE TABLE offers (
    product_id uuid NOT NULL,
    place integer NOT NULL,
    sku text,
    name text NOT NULL,
    brand text NOT NULL,
    categories text[] NOT NULL,
    price numeric(18, 3) NOT NULL,
    rating numeric(3, 2) NOT NULL,
    sellable boolean NOT NULL,
    in_stock boolean NOT NULL CHECK (sellable OR NOT in_stock),
    terms text[] NOT NULL,
    PRIMARY KEY (product_id, place)
);
CREATE INDEX offers_by_sku ON offers (sku);

-- Every word of names and brands, to guess what was meant; a word of which nothing is left stays until the index is made anew.
CREATE TABLE words (
    word text PRIMARY KEY
);
CREATE INDEX words_alike ON words USING gin (word gin_trgm_ops);
