-- People, organizations, sessions and the audit log.
--
-- Row level security is the second fence. A row is seen by who names its organization (app.organization_id, set per
-- transaction), and before an organization is known, by who names its e-mail address (app.login) or holds its refresh
-- token (app.refresh_token, the hash). Work over all organizations says so (app.scope = 'maintenance').

CREATE FUNCTION current_organization() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.organization_id', true), '')::uuid $$;

CREATE FUNCTION current_login() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.login', true), '') $$;

CREATE FUNCTION current_refresh_token() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.refresh_token', true), '') $$;

CREATE FUNCTION is_maintenance() RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT coalesce(current_setting('app.scope', true) = 'maintenance', false) $$;

CREATE TABLE organizations (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    sample boolean NOT NULL,
    created_at timestamptz NOT NULL
);

-- A person. organization_id is where a login leads; the membership says with which role.
CREATE TABLE users (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id),
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE memberships (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    user_id uuid NOT NULL REFERENCES users (id),
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'editor', 'viewer')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);

ALTER TABLE users ADD CONSTRAINT users_login_membership
    FOREIGN KEY (organization_id, id) REFERENCES memberships (organization_id, user_id) DEFERRABLE INITIALLY DEFERRED;

-- A session is a family of refresh tokens that follow one another.
CREATE TABLE sessions (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_because text CHECK (revoked_because IN ('logout', 'reuse')),
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, user_id) REFERENCES memberships (organization_id, user_id)
);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    organization_id uuid NOT NULL,
    session_id uuid NOT NULL,
    token_hash text NOT NULL UNIQUE,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (organization_id, session_id, token_hash),
    FOREIGN KEY (organization_id, session_id) REFERENCES sessions (organization_id, id) ON DELETE CASCADE
);

-- Access tokens (kind 'token') and sessions that must be refused until they would have expired anyway, and people and
-- organizations whose tokens issued before not_before must be.
CREATE TABLE revocations (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    kind text NOT NULL CHECK (kind IN ('token', 'session', 'user', 'organization')),
    id text NOT NULL,
    not_before timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, kind, id)
);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

-- Addresses (as keyed hashes) from which an account was used: wrong logins elsewhere close it to them for a minute only.
CREATE TABLE known_addresses (
    organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    address bytea NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, user_id, address),
    FOREIGN KEY (organization_id, user_id) REFERENCES memberships (organization_id, user_id)
);

-- What happened, in order, each entry sealed with the hash of the one before. The head is locked to append.
CREATE TABLE audit_heads (
    organization_id uuid PRIMARY KEY REFERENCES organizations (id),
    sequence bigint NOT NULL,
    hash bytea NOT NULL
);

CREATE TABLE audit_log (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    sequence bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    subject text,
    facts text NOT NULL, -- canonical JSON as it was hashed: jsonb would reorder it
    hash bytea NOT NULL,
    PRIMARY KEY (organization_id, sequence)
);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege'; END $$;

CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- Of the installation, not of an organization.
CREATE TABLE signing_keys (
    id text PRIMARY KEY,
    public_key bytea NOT NULL,
    private_key bytea NOT NULL, -- AES-GCM under AUTH_SIGNING_KEY_SECRET, the nonce in front
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL
);

CREATE TABLE throttles (
    subject bytea PRIMARY KEY, -- a keyed hash of what is counted and for whom
    hits timestamptz[] NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX throttles_by_expiry ON throttles (expires_at);

CREATE TABLE idempotency_keys (
    key bytea PRIMARY KEY, -- a keyed hash of route and Idempotency-Key
    fingerprint bytea NOT NULL, -- a keyed hash of the request
    reply bytea, -- encrypted under a key that only the same request gives; NULL while it is worked on
    created_at timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON organizations USING (id = current_organization());

ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE memberships FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON memberships USING (organization_id = current_organization());

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY named ON users USING (email = current_login());
CREATE POLICY own ON users FOR SELECT USING (EXISTS (
    SELECT 1 FROM memberships m WHERE m.organization_id = current_organization() AND m.user_id = users.id));

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON sessions USING (organization_id = current_organization());
CREATE POLICY maintenance ON sessions FOR SELECT USING (is_maintenance());
CREATE POLICY maintenance_removal ON sessions FOR DELETE USING (is_maintenance());

ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON refresh_tokens USING (organization_id = current_organization());
CREATE POLICY held ON refresh_tokens FOR SELECT USING (token_hash = current_refresh_token());

ALTER TABLE revocations ENABLE ROW LEVEL SECURITY;
ALTER TABLE revocations FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON revocations USING (organization_id = current_organization());
CREATE POLICY maintenance ON revocations USING (is_maintenance());

ALTER TABLE known_addresses ENABLE ROW LEVEL SECURITY;
ALTER TABLE known_addresses FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON known_addresses USING (organization_id = current_organization());
CREATE POLICY named ON known_addresses FOR SELECT USING (EXISTS (
    SELECT 1 FROM users u WHERE u.id = known_addresses.user_id AND u.email = current_login()));

ALTER TABLE audit_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON audit_heads USING (organization_id = current_organization());
CREATE POLICY maintenance ON audit_heads FOR SELECT USING (is_maintenance());

ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON audit_log USING (organization_id = current_organization());
CREATE POLICY maintenance ON audit_log FOR SELECT USING (is_maintenance());

GRANT SELECT, INSERT ON organizations, users, memberships, audit_log TO {app_user};
GRANT SELECT, INSERT, UPDATE ON known_addresses, audit_heads, refresh_tokens TO {app_user};
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions TO {app_user};
GRANT SELECT, INSERT, UPDATE, DELETE ON revocations, signing_keys, throttles, idempotency_keys TO {app_user};
