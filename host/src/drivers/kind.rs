//! The four kinds of driver, as the table names them, and the interfaces that the host speaks with each.

pub use crate::config::DriverKind as Kind;

/// The majors of a kind's interface that the host speaks.
pub(super) const fn interfaces(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Cloud => &["cloud/1"],
        Kind::Database => &["database/1"],
        Kind::LoadBalancer => &["load_balancer/1"],
        Kind::Mgm => &["mgm/1"],
    }
}
