CREATE TABLE idempotency (
    scope TEXT PRIMARY KEY,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    process TEXT NOT NULL,
    in_flight_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    status BIGINT,
    content_type TEXT,
    location TEXT,
    etag TEXT,
    body TEXT
);
CREATE INDEX idempotency_expires ON idempotency (expires_at);
