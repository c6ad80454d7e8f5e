-- Carts, whole in one row: whoever changes one holds its row, so concurrent changes never lose each other.
-- Every transaction takes idempotency keys first, then carts by id.

CREATE TABLE carts (
    id uuid PRIMARY KEY,
    user_id uuid,
    state text NOT NULL DEFAULT 'ACTIVE' CHECK (state IN ('ACTIVE', 'MERGED', 'CONVERTED', 'ABANDONED')),
    version integer NOT NULL DEFAULT 0 CHECK (version >= 0),
    items jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(items) = 'array' AND jsonb_array_length(items) <= 100),
    coupons jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(coupons) = 'array' AND jsonb_array_length(coupons) <= 5),
    holds jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(holds) = 'array'),
    notes jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(notes) = 'array'),
    recent jsonb NOT NULL DEFAULT '[]',
    merged_into uuid REFERENCES carts,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((state = 'MERGED') = (merged_into IS NOT NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX carts_active_of_user ON carts (user_id) WHERE state = 'ACTIVE' AND user_id IS NOT NULL;
CREATE INDEX carts_idle ON carts (updated_at) WHERE state = 'ACTIVE';

CREATE TABLE products (
    product_id uuid PRIMARY KEY,
    version bigint NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    image_url text NOT NULL,
    status text NOT NULL CHECK (status IN ('ACTIVE', 'INACTIVE', 'OUT_OF_STOCK')),
    base_price numeric(18, 3) NOT NULL,
    sale_price numeric(18, 3),
    currency text NOT NULL CHECK (char_length(currency) = 3),
    reservation_policy text NOT NULL,
    max_per_order integer NOT NULL
);

CREATE TABLE variants (
    sku text PRIMARY KEY,
    product_id uuid NOT NULL REFERENCES products,
    attributes jsonb NOT NULL,
    price_difference numeric(18, 3) NOT NULL,
    active boolean NOT NULL
);
CREATE INDEX variants_by_product ON variants (product_id);

CREATE TABLE stock_levels (
    sku text PRIMARY KEY,
    available integer NOT NULL,
    version bigint NOT NULL
);

CREATE TABLE coupons (
    code text PRIMARY KEY,
    coupon_id uuid NOT NULL,
    active boolean NOT NULL,
    version bigint NOT NULL
);
