-- People with everything that lets them in. What a person owns goes with the person (ON DELETE CASCADE);
-- only the erasure record outlives them. Tokens and keys are stored as hashes, private signing keys sealed.

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL CONSTRAINT users_email UNIQUE CHECK (char_length(email) BETWEEN 3 AND 254),
    password_hash text NOT NULL,
    first_name text NOT NULL DEFAULT '' CHECK (char_length(first_name) <= 100),
    last_name text NOT NULL DEFAULT '' CHECK (char_length(last_name) <= 100),
    phone text NOT NULL DEFAULT '' CHECK (char_length(phone) <= 32),
    role text NOT NULL DEFAULT 'USER' CHECK (role IN ('USER', 'SELLER', 'ADMIN')),
    status text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'SUSPENDED', 'DELETED')),
    email_verified_at timestamptz,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_login_at timestamptz
);
CREATE INDEX users_admins ON users (id) WHERE role = 'ADMIN' AND status = 'ACTIVE';

CREATE TABLE erasures (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL UNIQUE,
    donor_key text NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A session is the family of refresh tokens that descend from one sign-in.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text CHECK (end_reason IN ('LOGOUT', 'REUSE', 'PASSWORD_CHANGED', 'SUSPENDED', 'DELETED')),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE link_tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    purpose text NOT NULL CHECK (purpose IN ('VERIFY_EMAIL', 'RESET_PASSWORD')),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX link_tokens_by_user ON link_tokens (user_id, purpose);
CREATE INDEX link_tokens_by_expiry ON link_tokens (expires_at);

CREATE TABLE addresses (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    type text NOT NULL CHECK (type IN ('SHIPPING', 'BILLING')),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    line1 text NOT NULL CHECK (char_length(line1) BETWEEN 1 AND 200),
    line2 text NOT NULL DEFAULT '' CHECK (char_length(line2) <= 200),
    city text NOT NULL CHECK (char_length(city) BETWEEN 1 AND 100),
    region text NOT NULL DEFAULT '' CHECK (char_length(region) <= 100),
    postal_code text NOT NULL DEFAULT '' CHECK (char_length(postal_code) <= 20),
    country text NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    phone text NOT NULL DEFAULT '' CHECK (char_length(phone) <= 32),
    is_default boolean NOT NULL DEFAULT false,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX addresses_by_user ON addresses (user_id, id);
CREATE UNIQUE INDEX addresses_one_default ON addresses (user_id, type) WHERE is_default;

CREATE TABLE preferences (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    language text NOT NULL,
    channels text[] NOT NULL,
    topics text[] NOT NULL,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    hint text NOT NULL,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    owner_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    version integer NOT NULL DEFAULT 1 CHECK (version > 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX api_keys_by_owner ON api_keys (owner_id);

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    public_key text NOT NULL,
    sealed_private_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,
    CHECK (signs_from >= created_at)
);
