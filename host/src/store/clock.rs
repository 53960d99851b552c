//! What time it is, in milliseconds since 1970.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// By which clock leases run out. Daemons that share a PostgreSQL go by the server's, so that none acts too early because its
/// own clock is ahead.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's on SQLite, the server's on PostgreSQL.
    #[default]
    System,
    /// One that stands where it is put, for tests.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The time, unless the database is to say it.
    pub(super) fn manual(&self) -> Option<i64> {
        match self {
            Self::System => None,
            Self::Manual(time) => Some(time.load(Ordering::SeqCst)),
        }
    }

    /// The time by this machine.
    pub(super) fn now(&self) -> i64 {
        self.manual().unwrap_or_else(machine_time)
    }
}

fn machine_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
