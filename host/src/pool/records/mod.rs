//! The pool's tables and the questions that are asked of them.

mod cloud;
mod ip;
mod loss;
mod node;
mod orphan;
mod schedule;
mod stock;

pub use cloud::CloudRecord;
pub use ip::{Ip, IpState};
pub use loss::Loss;
pub use node::{Counts, Node, Origin, Spare, Spec, State, Trouble};
pub use orphan::Orphan;
pub use schedule::ScheduleRecord;
pub use stock::StockRecord;

use crate::store::{Invariant, Migration};

/// The pool's tables, in the order in which they came.
pub const MIGRATIONS: &[Migration] =
    &[Migration { room: "pool", version: 1, sql: include_str!("../migrations/1.sql") }];

/// What always holds for them.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        room: "pool",
        fault: "a node that waits and has no job that leads it on; the next comparison with the clouds gives it one",
        sql: "SELECT n.id AS object FROM pool_nodes n \
              WHERE n.state IN ('planned', 'building', 'checking', 'registering', 'deleting') \
              AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.object = 'node/' || n.id AND j.finished_at IS NULL)",
    },
    Invariant {
        room: "pool",
        fault: "a node in stock whose id in the cloud or whose address is not known",
        sql: "SELECT id AS object FROM pool_nodes WHERE state IN ('ready', 'reserved', 'taken') \
              AND (node IS NULL OR address IS NULL)",
    },
    Invariant {
        room: "pool",
        fault: "a node of a cloud that belongs to two rows",
        sql: "SELECT MIN(id) AS object FROM pool_nodes WHERE node IS NOT NULL AND state <> 'deleted' \
              GROUP BY cloud, node HAVING COUNT(*) > 1",
    },
    Invariant {
        room: "pool",
        fault: "a node that is deleted and whose certificate is in force; revoke it with `capstan identity revoke`",
        sql: "SELECT n.id AS object FROM pool_nodes n WHERE n.state IN ('deleting', 'deleted') \
              AND EXISTS (SELECT 1 FROM identity_certificates c WHERE c.name = n.name AND c.revoked_at IS NULL)",
    },
];
