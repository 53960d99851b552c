//! What is forgotten in time: jobs that have ended, and events.

use std::time::Duration;

use super::{
    Error, Store, events,
    jobs::{self, State},
};

const DAY: Duration = Duration::from_secs(86_400);
/// How long jobs are kept after their end: what failed longer, for somebody to look at.
const KEPT: [(State, Duration); 3] = [
    (State::Done, DAY.saturating_mul(7)),
    (State::Cancelled, DAY.saturating_mul(7)),
    (State::Failed, DAY.saturating_mul(30)),
];
/// How long events are kept, and how many at most.
const EVENTS: (Duration, i64) = (DAY.saturating_mul(30), 1_000_000);
/// Rows that go in one change, so that nobody waits for long.
const AT_ONCE: u32 = 1000;

impl Store {
    /// Forgets what is old enough, and gives how many rows went. Several daemons may do it at the same time.
    ///
    /// # Errors
    /// The store's; the rest is forgotten the next time.
    pub async fn forget_what_is_old(&self) -> Result<u64, Error> {
        let mut forgotten = 0;
        loop {
            let some = self
                .write_locking(|tx| {
                    let (age, keep) = EVENTS;
                    let limit = before(tx.now(), age);
                    let mut gone = vec![events::trim(tx, limit, keep, AT_ONCE)?];
                    for (state, age) in KEPT {
                        let limit = before(tx.now(), age);
                        gone.push(jobs::trim(tx, state, limit, AT_ONCE)?);
                    }
                    Ok::<_, Error>(gone)
                })
                .await?;
            forgotten += some.iter().sum::<u64>();
            if some.iter().all(|some| *some < u64::from(AT_ONCE)) {
                return Ok(forgotten);
            }
        }
    }
}

fn before(now: i64, age: Duration) -> i64 {
    now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}
