-- Plans, subscriptions, and quota: leases over an exactly-once ledger.

CREATE TABLE plans (
    id text PRIMARY KEY,
    name text NOT NULL,
    position int NOT NULL
);

-- "No limit" is a word of its own: a NULL would make every comparison with it unknown.
CREATE TABLE plan_limits (
    plan_id text NOT NULL REFERENCES plans (id),
    meter text NOT NULL CHECK (meter IN ('messages', 'tasks')),
    unlimited boolean NOT NULL,
    units bigint NOT NULL CHECK (units >= 0),
    PRIMARY KEY (plan_id, meter)
);

INSERT INTO plans (id, name, position) VALUES ('free', 'Free', 1), ('pro', 'Pro', 2), ('enterprise', 'Enterprise', 3);
INSERT INTO plan_limits (plan_id, meter, unlimited, units) VALUES
    ('free', 'messages', false, 1000), ('free', 'tasks', false, 10),
    ('pro', 'messages', false, 10000), ('pro', 'tasks', false, 100),
    ('enterprise', 'messages', true, 0), ('enterprise', 'tasks', false, 1000);

CREATE TABLE subscriptions (
    organization_id uuid PRIMARY KEY REFERENCES organizations (id),
    plan_id text NOT NULL REFERENCES plans (id),
    started_at timestamptz NOT NULL
);

-- One row per organization, meter and calendar month. What may still be granted is
-- limit - used - reserved - leased; used rises only by rows that were new in the ledger.
CREATE TABLE quota_periods (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    meter text NOT NULL CHECK (meter IN ('messages', 'tasks')),
    starts_at timestamptz NOT NULL,
    used bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    leased bigint NOT NULL DEFAULT 0 CHECK (leased >= 0),
    last_grant bigint NOT NULL DEFAULT 0, -- lets the conditional UPDATE return what it granted
    PRIMARY KEY (organization_id, meter, starts_at)
);

CREATE TABLE quota_leases (
    organization_id uuid NOT NULL,
    meter text NOT NULL,
    starts_at timestamptz NOT NULL,
    id uuid NOT NULL,
    holder text NOT NULL,
    granted bigint NOT NULL CHECK (granted > 0),
    outstanding bigint NOT NULL CHECK (outstanding BETWEEN 0 AND granted), -- still counted in quota_periods.leased
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, meter, starts_at) REFERENCES quota_periods (organization_id, meter, starts_at)
);
CREATE INDEX quota_leases_by_expiry ON quota_leases (expires_at);

CREATE TABLE usage_events (
    organization_id uuid NOT NULL,
    event_id text NOT NULL,
    meter text NOT NULL,
    starts_at timestamptz NOT NULL,
    lease_id uuid,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, event_id),
    FOREIGN KEY (organization_id, meter, starts_at) REFERENCES quota_periods (organization_id, meter, starts_at)
);

CREATE TABLE quota_reservations (
    organization_id uuid NOT NULL,
    event_id text NOT NULL,
    id uuid NOT NULL,
    meter text NOT NULL,
    starts_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('reserved', 'committed', 'refunded')),
    reserved_at timestamptz NOT NULL,
    settled_at timestamptz,
    PRIMARY KEY (organization_id, event_id),
    FOREIGN KEY (organization_id, meter, starts_at) REFERENCES quota_periods (organization_id, meter, starts_at)
);
CREATE INDEX quota_reservations_open ON quota_reservations (reserved_at) WHERE state = 'reserved';

ALTER TABLE subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscriptions FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON subscriptions USING (organization_id = current_organization());

ALTER TABLE quota_periods ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota_periods FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON quota_periods USING (organization_id = current_organization());

ALTER TABLE quota_leases ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota_leases FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON quota_leases USING (organization_id = current_organization());
CREATE POLICY maintenance ON quota_leases FOR SELECT USING (is_maintenance());

ALTER TABLE usage_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_events FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON usage_events USING (organization_id = current_organization());

ALTER TABLE quota_reservations ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota_reservations FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON quota_reservations USING (organization_id = current_organization());
CREATE POLICY maintenance ON quota_reservations FOR SELECT USING (is_maintenance());

GRANT SELECT ON plans, plan_limits TO {app_user};
GRANT SELECT, INSERT ON subscriptions, usage_events TO {app_user};
GRANT SELECT, INSERT, UPDATE ON quota_periods, quota_reservations TO {app_user};
GRANT SELECT, INSERT, UPDATE, DELETE ON quota_leases TO {app_user};
