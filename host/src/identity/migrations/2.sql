ALTER TABLE identity_tokens ADD COLUMN revoked_at BIGINT;
ALTER TABLE identity_tokens ADD COLUMN reason TEXT;
CREATE INDEX identity_tokens_created ON identity_tokens (created_at, id);
