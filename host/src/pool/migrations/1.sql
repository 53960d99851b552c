
CREATE TABLE pool_nodes (
    id TEXT PRIMARY KEY,
    tag TEXT NOT NULL,
    stock TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    cloud TEXT NOT NULL,
    origin TEXT NOT NULL,
    state TEXT NOT NULL,
    spec TEXT NOT NULL,
    node TEXT,
    address TEXT,
    host TEXT,
    device TEXT,
    owner TEXT,
    held_until BIGINT,
    asked_at BIGINT,
    building_since BIGINT,
    ready_at BIGINT,
    checked_at BIGINT,
    health_failures BIGINT NOT NULL DEFAULT 0,
    missed BIGINT NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    ordered BIGINT NOT NULL DEFAULT 0,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE INDEX pool_nodes_stock ON pool_nodes (stock, state);
CREATE INDEX pool_nodes_node ON pool_nodes (cloud, node);

CREATE TABLE pool_stocks (
    stock TEXT PRIMARY KEY,
    paused TEXT,
    failures BIGINT NOT NULL DEFAULT 0,
    not_before BIGINT NOT NULL DEFAULT 0,
    last_error TEXT NOT NULL DEFAULT '',
    free BIGINT,
    checked_at BIGINT,
    losses_forgiven BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE pool_losses (
    id TEXT PRIMARY KEY,
    stock TEXT NOT NULL,
    node TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX pool_losses_stock ON pool_losses (stock, at);

CREATE TABLE pool_orphans (
    cloud TEXT NOT NULL,
    node TEXT NOT NULL,
    name TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (cloud, node)
);

CREATE TABLE pool_ips (
    id TEXT PRIMARY KEY,
    cloud TEXT NOT NULL,
    state TEXT NOT NULL,
    ip TEXT,
    address TEXT,
    known_before TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL
);

CREATE TABLE pool_schedules (
    schedule TEXT PRIMARY KEY,
    began_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    last_error TEXT NOT NULL DEFAULT ''
);

CREATE TABLE pool_clouds (
    cloud TEXT PRIMARY KEY,
    reconciled_at BIGINT,
    listed BIGINT,
    last_error TEXT NOT NULL DEFAULT ''
);
