-- What has expired may be removed: a refresh token past its time is refused whether or not it is still known, and an
-- address from which an account was not used for half a year is an address like any other.

CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
CREATE INDEX known_addresses_by_age ON known_addresses (last_used_at);

CREATE POLICY maintenance ON refresh_tokens FOR SELECT USING (is_maintenance());
CREATE POLICY maintenance_removal ON refresh_tokens FOR DELETE USING (is_maintenance());
CREATE POLICY maintenance ON known_addresses FOR SELECT USING (is_maintenance());
CREATE POLICY maintenance_removal ON known_addresses FOR DELETE USING (is_maintenance());

GRANT DELETE ON refresh_tokens, known_addresses TO {app_user};
