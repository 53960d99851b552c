CREATE TABLE identity_keys (
    purpose TEXT PRIMARY KEY,
    secret TEXT NOT NULL,
    certificate TEXT,
    created_at BIGINT NOT NULL
);
CREATE TABLE identity_tokens (
    id TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    serial TEXT
);
CREATE INDEX identity_tokens_name ON identity_tokens (name);
CREATE INDEX identity_tokens_expiry ON identity_tokens (expires_at);
CREATE TABLE identity_certificates (
    serial TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    key_sha256 TEXT NOT NULL,
    certificate TEXT NOT NULL,
    origin TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    revoked_at BIGINT,
    reason TEXT
);
CREATE INDEX identity_certificates_name ON identity_certificates (name);
CREATE INDEX identity_certificates_issued ON identity_certificates (issued_at, serial);
CREATE INDEX identity_certificates_expiry ON identity_certificates (not_after);
CREATE INDEX identity_certificates_revoked ON identity_certificates (revoked_at);
