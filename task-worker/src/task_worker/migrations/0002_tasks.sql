-- Tasks of organizations, what became of them, and what neighbours still have to be told.
-- The organization leads every key. Row level security is the second fence behind the queries: a transaction sees the
-- rows of the organization it named, and housekeeping (relays, sweeps) names itself to see those of all.

CREATE TABLE tasks (
    organization_id text NOT NULL,
    id uuid NOT NULL,
    user_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('analyze', 'research')),
    description text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    percent smallint NOT NULL DEFAULT 0 CHECK (percent BETWEEN 0 AND 100),
    step text NOT NULL DEFAULT 'waiting for a worker',
    attempt integer NOT NULL DEFAULT 0,  -- the fencing token: only the holder of the latest may write
    failures integer NOT NULL DEFAULT 0,  -- attempts that ended in an error of the work itself
    job_id bigint,
    upload_name text,
    error_code text,
    error_detail text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX tasks_of_user ON tasks (organization_id, user_id, id DESC);
CREATE INDEX tasks_unfinished ON tasks (created_at) WHERE status IN ('queued', 'running');

CREATE TABLE attempts (
    organization_id text NOT NULL,
    task_id uuid NOT NULL,
    number integer NOT NULL,
    worker text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    outcome text CHECK (outcome IN ('succeeded', 'failed', 'postponed', 'handed_back', 'lost', 'cancelled')),
    reason text,
    PRIMARY KEY (organization_id, task_id, number),
    FOREIGN KEY (organization_id, task_id) REFERENCES tasks (organization_id, id) ON DELETE CASCADE
);

CREATE TABLE results (
    organization_id text NOT NULL,
    task_id uuid NOT NULL,
    attempt integer NOT NULL,
    content jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, task_id),
    FOREIGN KEY (organization_id, task_id) REFERENCES tasks (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, task_id, attempt) REFERENCES attempts (organization_id, task_id, number)
);

CREATE TABLE upload_chunks (
    organization_id text NOT NULL,
    task_id uuid NOT NULL,
    position integer NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (organization_id, task_id, position),
    FOREIGN KEY (organization_id, task_id) REFERENCES tasks (organization_id, id) ON DELETE CASCADE
);

-- One row per reservation of quota, made before auth-service is asked, so that whatever dies in between is refunded.
-- outcome NULL: the task runs; 'commit' or 'refund': auth-service has to be told from due_at on.
CREATE TABLE settlements (
    organization_id text NOT NULL,
    task_id uuid NOT NULL,
    outcome text CHECK (outcome IN ('commit', 'refund')),
    due_at timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    settled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, task_id)
);
CREATE INDEX settlements_due ON settlements (due_at) WHERE settled_at IS NULL AND outcome IS NOT NULL;

CREATE TABLE outbox (
    organization_id text NOT NULL,
    event_id text NOT NULL,
    user_id text NOT NULL,
    type text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    data jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    tries integer NOT NULL DEFAULT 0,
    delivered_at timestamptz,
    PRIMARY KEY (organization_id, event_id)
);
CREATE INDEX outbox_due ON outbox (due_at) WHERE delivered_at IS NULL;
CREATE INDEX outbox_in_order ON outbox (occurred_at, event_id);

CREATE TABLE idempotency_keys (
    organization_id text NOT NULL,
    user_id text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    task_id uuid NOT NULL,
    is_done boolean NOT NULL DEFAULT false,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id, route, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (claimed_at);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tasks', 'attempts', 'results', 'upload_chunks', 'settlements', 'outbox', 'idempotency_keys']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY tenant ON %I USING (organization_id = current_setting(''app.organization_id'', true))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['tasks', 'settlements', 'outbox', 'idempotency_keys']
    LOOP
        EXECUTE format(
            'CREATE POLICY housekeeping ON %I USING (current_setting(''app.housekeeping'', true) = ''on'')', name);
    END LOOP;
END;
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON
    tasks, attempts, results, upload_chunks, settlements, outbox, idempotency_keys TO {app_user};
GRANT SELECT, INSERT, UPDATE, DELETE ON
    procrastinate_workers, procrastinate_jobs, procrastinate_periodic_defers, procrastinate_events TO {app_user};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {app_user};
