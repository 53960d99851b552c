CREATE TABLE devices (
    id {sequence},
    name TEXT NOT NULL,
    public_address TEXT NOT NULL,
    floating_address TEXT NOT NULL,
    az BIGINT NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL,
    description TEXT NOT NULL,
    ping_count BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX devices_name ON devices (name);
CREATE INDEX devices_status ON devices (status);
