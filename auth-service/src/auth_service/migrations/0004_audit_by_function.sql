-- The audit log is written by one function, which seals each entry: the service itself may no longer insert a row or
-- move a head. A chain that was tampered with stops nobody: what does not fit goes to audit_unchained, and verify-audit
-- tells both.

CREATE TABLE audit_unchained (
    organization_id uuid NOT NULL REFERENCES organizations (id),
    id bigint GENERATED ALWAYS AS IDENTITY,
    occurred_at timestamptz NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    subject text,
    facts text NOT NULL,
    PRIMARY KEY (organization_id, id)
);

CREATE TRIGGER audit_unchained_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_unchained
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

ALTER TABLE audit_unchained ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_unchained FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON audit_unchained USING (organization_id = current_organization());
CREATE POLICY maintenance ON audit_unchained FOR SELECT USING (is_maintenance());

-- Every organization has a chain: verify-audit looks for it.
CREATE POLICY maintenance ON organizations FOR SELECT USING (is_maintenance());

-- Byte for byte what AuditEntry.sealed_after hashes.
CREATE FUNCTION audit_content(
    organization uuid, number bigint, at timestamptz, actor uuid, what text, about text, details text
) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT convert_to(
        '["' || organization || '",' || number
        || ',"' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00",'
        || coalesce('"' || actor || '"', 'null') || ',' || to_json(what) || ','
        || coalesce(to_json(about)::text, 'null') || ',' || to_json(details) || ']', 'UTF8')
$$;

-- Adds one entry for the organization of the transaction; false when it did not fit into the chain.
CREATE FUNCTION append_audit(
    organization uuid, at timestamptz, actor uuid, what text, about text, details text
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    head audit_heads;
    seal bytea;
BEGIN
    IF organization IS DISTINCT FROM current_organization() THEN
        RAISE EXCEPTION 'an entry belongs to the organization of its transaction' USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- A chain begins with the registration and never anew: a head that somebody removed stays missing.
    IF what = 'organization.registered' THEN
        INSERT INTO audit_heads (organization_id, sequence, hash)
        VALUES (organization, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
    END IF;
    SELECT * INTO head FROM audit_heads WHERE organization_id = organization FOR UPDATE;
    IF FOUND THEN
        seal := sha256(head.hash || audit_content(organization, head.sequence + 1, at, actor, what, about, details));
        INSERT INTO audit_log (organization_id, sequence, occurred_at, actor_id, action, subject, facts, hash)
        VALUES (organization, head.sequence + 1, at, actor, what, about, details, seal) ON CONFLICT DO NOTHING;
        IF FOUND THEN
            UPDATE audit_heads SET sequence = head.sequence + 1, hash = seal WHERE organization_id = organization;
            RETURN true;
        END IF;
    END IF;
    INSERT INTO audit_unchained (organization_id, occurred_at, actor_id, action, subject, facts)
    VALUES (organization, at, actor, what, about, details);
    RETURN false;
END $$;

REVOKE ALL ON FUNCTION append_audit(uuid, timestamptz, uuid, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append_audit(uuid, timestamptz, uuid, text, text, text) TO {app_user};
REVOKE INSERT ON audit_log FROM {app_user};
REVOKE INSERT, UPDATE ON audit_heads FROM {app_user};
GRANT SELECT ON audit_unchained TO {app_user};
