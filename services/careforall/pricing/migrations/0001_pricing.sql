-- Own copy of what is sold, the rules of prices, and coupons whose limits no crowd can exceed.
-- Every transaction takes steps by id, locked prices by holder, coupons by id, then holds (only under their coupon's lock).

CREATE TABLE products (
    product_id uuid PRIMARY KEY,
    version bigint NOT NULL,
    name text NOT NULL,
    category_path text[] NOT NULL DEFAULT '{}',
    seller_id uuid,
    status text NOT NULL CHECK (status IN ('ACTIVE', 'INACTIVE', 'OUT_OF_STOCK')),
    base_price numeric(18, 3) NOT NULL CHECK (base_price >= 0),
    sale_price numeric(18, 3) CHECK (sale_price >= 0),
    currency text NOT NULL CHECK (char_length(currency) = 3),
    tax_category text NOT NULL,
    shippable boolean NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE variants (
    sku text PRIMARY KEY,
    product_id uuid NOT NULL REFERENCES products,
    price_difference numeric(18, 3) NOT NULL,
    active boolean NOT NULL
);
CREATE INDEX variants_by_product ON variants (product_id);

CREATE TABLE stock_levels (
    sku text PRIMARY KEY,
    available integer NOT NULL,
    version bigint NOT NULL
);

-- Units sold by hour, for rules of demand.
CREATE TABLE demand (
    sku text NOT NULL,
    hour timestamptz NOT NULL,
    units bigint NOT NULL CHECK (units > 0),
    PRIMARY KEY (sku, hour)
);
CREATE INDEX demand_by_hour ON demand (hour);

-- One row: whoever changes a rule takes it first and counts it up, so that readers know whether what they keep in mind still holds.
CREATE TABLE rulebook (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version bigint NOT NULL DEFAULT 1
);
INSERT INTO rulebook DEFAULT VALUES;

CREATE TABLE promotions (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    type text NOT NULL
        CHECK (type IN ('DEMAND', 'TIME_WINDOW', 'STOCK_LEVEL', 'SEGMENT', 'REGION', 'SALE', 'MEMBER')),
    active boolean NOT NULL,
    priority integer NOT NULL,
    exclusive boolean NOT NULL,
    percent numeric(7, 4) CHECK (percent BETWEEN -100 AND 100 AND percent <> 0),
    amount numeric(18, 3) CHECK (amount <> 0),
    currency text CHECK (char_length(currency) = 3),
    conditions jsonb NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((percent IS NULL) <> (amount IS NULL)),
    CHECK ((amount IS NULL) = (currency IS NULL)),
    CHECK (type NOT IN ('SALE', 'MEMBER') OR coalesce(percent, amount) < 0)
);

CREATE TABLE tax_rates (
    id uuid PRIMARY KEY,
    country text NOT NULL,
    region text NOT NULL,
    category text NOT NULL,
    percent numeric(7, 4) NOT NULL CHECK (percent BETWEEN 0 AND 100),
    inclusive boolean NOT NULL,
    exempt boolean NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT tax_rates_place UNIQUE (country, region, category),
    CHECK (NOT exempt OR percent = 0)
);

CREATE TABLE shipping_rates (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    country text NOT NULL,
    region text NOT NULL,
    currency text NOT NULL CHECK (char_length(currency) = 3),
    steps jsonb NOT NULL,
    free_above numeric(18, 3) CHECK (free_above >= 0),
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT shipping_rates_place UNIQUE (country, region, currency)
);

CREATE TABLE coupons (
    id uuid PRIMARY KEY,
    code text NOT NULL CONSTRAINT coupons_code UNIQUE CHECK (code = upper(code)),
    percent numeric(7, 4) CHECK (percent > 0 AND percent <= 100),
    amount numeric(18, 3) CHECK (amount > 0),
    currency text CHECK (char_length(currency) = 3),
    minimum numeric(18, 3) CHECK (minimum > 0),
    total_limit integer CHECK (total_limit >= 0),
    per_user_limit integer CHECK (per_user_limit > 0),
    used integer NOT NULL DEFAULT 0 CHECK (used >= 0),
    held integer NOT NULL DEFAULT 0 CHECK (held >= 0),
    starts_at timestamptz,
    ends_at timestamptz,
    active boolean NOT NULL,
    combinable boolean NOT NULL,
    skus text[] NOT NULL,
    categories text[] NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT coupons_limit CHECK (total_limit IS NULL OR used + held <= total_limit),
    CHECK ((percent IS NULL) <> (amount IS NULL)),
    CHECK ((amount IS NULL AND minimum IS NULL) OR currency IS NOT NULL),
    CHECK (starts_at IS NULL OR ends_at IS NULL OR starts_at < ends_at)
) WITH (fillfactor = 70);

-- One row per checkout and coupon, kept for ever: what the counters of a coupon must add up to.
CREATE TABLE coupon_holds (
    holder_id uuid NOT NULL,
    coupon_id uuid NOT NULL REFERENCES coupons,
    user_id uuid,
    state text NOT NULL CHECK (state IN ('HELD', 'USED', 'RELEASED', 'EXPIRED')),
    expires_at timestamptz NOT NULL,
    pinned boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (holder_id, coupon_id)
);
CREATE INDEX coupon_holds_overdue ON coupon_holds (expires_at) WHERE state = 'HELD' AND NOT pinned;
CREATE INDEX coupon_holds_by_user ON coupon_holds (coupon_id, user_id) WHERE state IN ('HELD', 'USED');

-- The price that a checkout is promised, with its lines; one per holder, the newest.
CREATE TABLE locked_prices (
    holder_id uuid PRIMARY KEY,
    quote_id uuid,
    quote jsonb,
    locked_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What was answered to each step of a checkout, for the same step asked again.
CREATE TABLE steps (
    step_id uuid PRIMARY KEY,
    fingerprint bytea NOT NULL,
    answer bytea NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
