-- Warehouses, stock and who holds it. Whoever changes stock locks its row in `skus` first (one lock a SKU, in SKU order), then the
-- holders in id order; so all sums below are read and written by one transaction at a time.

CREATE TABLE warehouses (
    code text PRIMARY KEY CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$'),
    id uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    region text NOT NULL DEFAULT '' CHECK (char_length(region) <= 64),
    country text NOT NULL DEFAULT '' CHECK (char_length(country) <= 2),
    delivery_days integer NOT NULL CHECK (delivery_days BETWEEN 0 AND 365),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO warehouses (code, name, delivery_days) VALUES ('main', 'Main warehouse', 3);

-- Every SKU there is, whether it lies anywhere or not; the version counts changes of its stock over all warehouses.
CREATE TABLE skus (
    sku text PRIMARY KEY CHECK (char_length(sku) BETWEEN 1 AND 64),
    id uuid NOT NULL UNIQUE,
    version integer NOT NULL DEFAULT 0 CHECK (version >= 0)
) WITH (fillfactor = 50);  -- room for new versions on the same page: a busy SKU is rewritten with every batch

CREATE TABLE stock (
    sku text NOT NULL REFERENCES skus,
    warehouse text NOT NULL REFERENCES warehouses,
    on_hand integer NOT NULL,
    reserved integer NOT NULL DEFAULT 0,
    available integer NOT NULL GENERATED ALWAYS AS (on_hand - reserved) STORED,
    low_stock_threshold integer NOT NULL DEFAULT 5 CHECK (low_stock_threshold >= 0),
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sku, warehouse),
    CONSTRAINT stock_never_oversold CHECK (reserved >= 0 AND reserved <= on_hand)
) WITH (fillfactor = 50);

-- Whoever holds stock: the saga of a checkout, or a cart. The version counts what became of its holds.
CREATE TABLE holders (
    id uuid PRIMARY KEY,
    saga_id uuid,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 85);

CREATE TABLE reservations (
    id uuid NOT NULL,
    holder_id uuid NOT NULL REFERENCES holders,
    sku text NOT NULL,
    warehouse text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    returned integer NOT NULL DEFAULT 0,
    status text NOT NULL CHECK (status IN ('PENDING', 'CONFIRMED', 'RELEASED', 'EXPIRED')),
    expires_at timestamptz NOT NULL,
    pinned boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (holder_id, sku, warehouse),
    FOREIGN KEY (sku, warehouse) REFERENCES stock,
    CHECK (returned >= 0 AND returned <= quantity),
    CHECK (status = 'CONFIRMED' OR returned = 0)
) WITH (fillfactor = 85);
CREATE INDEX reservations_pending ON reservations (expires_at) INCLUDE (sku, warehouse, quantity) WHERE status = 'PENDING';

-- What is sold stays sold: only what is given back or ran out may be held again.
CREATE FUNCTION check_reservation_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.status <> new.status AND (
        old.status = 'CONFIRMED' OR (old.status IN ('RELEASED', 'EXPIRED') AND new.status <> 'PENDING')
    ) THEN
        RAISE EXCEPTION 'illegal step of a reservation: % to %', old.status, new.status USING ERRCODE = '23514';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER reservations_step BEFORE UPDATE OF status ON reservations
    FOR EACH ROW EXECUTE FUNCTION check_reservation_step();

-- Why each number is what it is: the changes of a row add up to the row.
CREATE TABLE stock_movements (
    id uuid PRIMARY KEY,
    sku text NOT NULL,
    warehouse text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('receipt', 'adjust', 'reserve', 'release', 'ship', 'return')),
    on_hand integer NOT NULL,
    reserved integer NOT NULL,
    holder_id uuid,
    cause text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (on_hand <> 0 OR reserved <> 0)
);
CREATE INDEX stock_movements_of ON stock_movements (sku, id) INCLUDE (warehouse, on_hand, reserved);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', tg_table_name;
END
$$;
CREATE TRIGGER stock_movements_append_only BEFORE UPDATE OR DELETE ON stock_movements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What a step was answered; asked again it is answered the same and does nothing twice.
CREATE TABLE steps (
    step_id uuid PRIMARY KEY,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    answer bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz
) WITH (fillfactor = 90);
CREATE INDEX steps_by_age ON steps USING brin (at);
