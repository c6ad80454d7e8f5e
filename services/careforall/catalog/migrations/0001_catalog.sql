-- Categories, products, variants and images; and offers, the one table that lists read. Whoever changes any of it takes rows in this
-- order: categories, products (by id), variants, images, stock (by SKU), offers, list_generation last.

CREATE TABLE categories (
    id uuid PRIMARY KEY,
    slug text NOT NULL CONSTRAINT categories_slug UNIQUE CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND char_length(slug) <= 100),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    parent_id uuid REFERENCES categories,
    level integer NOT NULL CHECK (level BETWEEN 0 AND 7),
    path text[] NOT NULL,
    display_order integer NOT NULL DEFAULT 0,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    CHECK ((parent_id IS NULL) = (level = 0)),
    CHECK (parent_id <> id),
    CHECK (cardinality(path) = level + 1 AND path[level + 1] = slug)
);
CREATE INDEX categories_by_parent ON categories (parent_id);

-- A removed product stays for those who sold it; its slug may be taken anew, its SKUs never.
CREATE TABLE products (
    id uuid PRIMARY KEY,
    slug text NOT NULL CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND char_length(slug) <= 220),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    description text NOT NULL CHECK (char_length(description) <= 20000),
    brand text NOT NULL CHECK (char_length(brand) <= 100),
    category_id uuid REFERENCES categories,
    seller_id uuid,
    status text NOT NULL CHECK (status IN ('ACTIVE', 'INACTIVE', 'OUT_OF_STOCK')),
    base_price numeric(18, 3) NOT NULL CHECK (base_price > 0),
    sale_price numeric(18, 3) CHECK (sale_price > 0 AND sale_price <= base_price),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    attributes jsonb NOT NULL,
    reservation_policy text NOT NULL CHECK (reservation_policy IN ('AT_CHECKOUT', 'AT_CART', 'AT_PAYMENT')),
    max_per_order integer NOT NULL CHECK (max_per_order BETWEEN 1 AND 10000),
    shippable boolean NOT NULL,
    tax_category text NOT NULL CHECK (char_length(tax_category) BETWEEN 1 AND 40),
    rating_average numeric(3, 2) NOT NULL CHECK (rating_average BETWEEN 0 AND 5),
    rating_count integer NOT NULL CHECK (rating_count >= 0),
    version integer NOT NULL CHECK (version > 0),
    removed boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (NOT removed OR status = 'INACTIVE')
);
CREATE UNIQUE INDEX products_slug ON products (slug) WHERE NOT removed;
CREATE INDEX products_by_category ON products (category_id);

CREATE TABLE variants (
    id uuid PRIMARY KEY,
    product_id uuid NOT NULL REFERENCES products,
    display_order integer NOT NULL,
    sku text NOT NULL CHECK (char_length(sku) BETWEEN 1 AND 64),
    attributes jsonb NOT NULL,
    price_difference numeric(18, 3) NOT NULL,
    active boolean NOT NULL,
    -- Checked when a statement ends, so that one statement may swap the SKUs of two variants.
    CONSTRAINT variants_sku UNIQUE (sku) DEFERRABLE INITIALLY IMMEDIATE
);
CREATE INDEX variants_by_product ON variants (product_id, display_order);

CREATE TABLE images (
    id uuid PRIMARY KEY,
    product_id uuid NOT NULL REFERENCES products,
    url text NOT NULL CHECK (char_length(url) BETWEEN 1 AND 2000),
    alt text NOT NULL CHECK (char_length(alt) <= 200),
    display_order integer NOT NULL CHECK (display_order >= 0),
    is_primary boolean NOT NULL
);
CREATE INDEX images_by_product ON images (product_id, display_order);
CREATE UNIQUE INDEX images_one_primary ON images (product_id) WHERE is_primary;

-- What inventory says, newest version only.
CREATE TABLE stock (
    sku text PRIMARY KEY,
    available integer NOT NULL,
    version integer NOT NULL
) WITH (fillfactor = 70);

-- What a visitor may find: one row per active variant of a visible product (or one without SKU where it has none). Filters and
-- facets look at these rows alone, so that both always speak of the same thing.
CREATE TABLE offers (
    product_id uuid NOT NULL REFERENCES products,
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
CREATE INDEX offers_by_category ON offers USING gin (categories);
CREATE INDEX offers_by_term ON offers USING gin (terms);
CREATE INDEX offers_by_price ON offers (price);

-- Counts changes of what visitors may see, in the transactions that change it: it is part of every cache key.
CREATE TABLE list_generation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation bigint NOT NULL DEFAULT 1
);
INSERT INTO list_generation DEFAULT VALUES;
