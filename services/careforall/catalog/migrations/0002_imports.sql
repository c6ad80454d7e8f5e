-- Imports of products from files. An import is a row before it is work, so that whoever dies with one leaves it to others: `reached`
-- counts the products that are done, and moves in the transaction that does them. Whoever changes products for an import holds its
-- row before any other.

CREATE TABLE product_imports (
    id uuid PRIMARY KEY,
    state text NOT NULL DEFAULT 'QUEUED' CHECK (state IN ('QUEUED', 'RUNNING', 'COMPLETED', 'CANCELLED', 'FAILED')),
    dry_run boolean NOT NULL,
    ordered_by text NOT NULL,
    rows integer NOT NULL CHECK (rows > 0),
    products integer NOT NULL CHECK (products BETWEEN 1 AND rows),
    reached integer NOT NULL DEFAULT 0 CHECK (reached BETWEEN 0 AND products),
    created integer NOT NULL DEFAULT 0 CHECK (created >= 0),
    updated integer NOT NULL DEFAULT 0 CHECK (updated >= 0),
    unchanged integer NOT NULL DEFAULT 0 CHECK (unchanged >= 0),
    failed integer NOT NULL DEFAULT 0 CHECK (failed >= 0),
    errors integer NOT NULL DEFAULT 0 CHECK (errors >= 0),
    reason text NOT NULL DEFAULT '',
    epoch integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    CHECK (created + updated + unchanged + failed <= rows),
    CHECK (state <> 'COMPLETED' OR (reached = products AND created + updated + unchanged + failed = rows)),
    CHECK ((finished_at IS NULL) = (state IN ('QUEUED', 'RUNNING')))
);
CREATE INDEX product_imports_open ON product_imports (id) WHERE state IN ('QUEUED', 'RUNNING');

-- The file, until its import has ended.
CREATE TABLE product_import_files (
    import_id uuid PRIMARY KEY REFERENCES product_imports,
    content bytea NOT NULL
);

-- What was wrong, up to a limit for each import.
CREATE TABLE product_import_errors (
    id uuid PRIMARY KEY,
    import_id uuid NOT NULL REFERENCES product_imports,
    line integer NOT NULL CHECK (line > 0),
    column_name text NOT NULL,
    code text NOT NULL,
    message text NOT NULL
);
CREATE INDEX product_import_errors_of ON product_import_errors (import_id, id);
