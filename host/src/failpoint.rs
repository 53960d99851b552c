//! Places at which a test lets the daemon be killed: after each step that changes something in the store, the cloud or the API
//! server. Only debug builds have them.

/// Every place, in the order of a node's life. A crash matrix walks this list.
pub const POINTS: &[&str] = &[
    "pool.build.intended",
    "pool.create.before",
    "pool.create.asked",
    "pool.create.pending",
    "pool.create.answered",
    "pool.create.found",
    "pool.create.recorded",
    "pool.wait.running",
    "pool.check.good",
    "pool.register.before",
    "pool.register.asked",
    "pool.register.answered",
    "pool.register.recorded",
    "pool.retest.recorded",
    "pool.take.reserved",
    "pool.take.confirmed",
    "pool.delete.intended",
    "pool.delete.before",
    "pool.delete.unregistered",
    "pool.delete.asked",
    "pool.delete.answered",
    "pool.delete.missed",
    "pool.delete.recorded",
    "pool.reconcile.orphan_seen",
    "pool.reconcile.orphan_adopted",
    "pool.reconcile.lost_recorded",
    "pool.message.accepted",
    "pool.message.done",
    "pool.ip.before",
    "pool.ip.asked",
    "pool.ip.recorded",
    "pool.ip.assigned",
    "pool.ip.removed",
    "pool.ip.released",
];

/// The places between a certificate that is recorded and the answer that carries it.
pub const IDENTITY_POINTS: &[&str] = &["identity.enrol.recorded", "identity.renew.recorded"];

/// Kills this process with SIGKILL when `CAPSTAN_FAILPOINT` names this place, as `NAME` or, for the nth time it is reached, `NAME:N`.
#[cfg(debug_assertions)]
pub fn reached(point: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    };

    static ARMED: OnceLock<Option<(String, usize)>> = OnceLock::new();
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    debug_assert!(POINTS.contains(&point) || IDENTITY_POINTS.contains(&point), "{point} is not among the points");
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("CAPSTAN_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').map_or((text.as_str(), 1), |(name, n)| (name, n.parse().unwrap_or(1)));
        Some((name.to_owned(), count))
    });
    if let Some((name, count)) = armed
        && name == point
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        let _ends_here = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}

/// Nothing outside debug builds.
#[cfg(not(debug_assertions))]
pub const fn reached(_point: &str) {}
