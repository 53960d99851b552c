//! Jobs: work that was accepted and will be done, whatever ends in between.
//!
//! A job is `queued`, is claimed by somebody who renews a lease on it while it runs, and ends as `done`, `failed` or `cancelled`.
//! A lease that runs out puts the job back; each claim has a higher fence, and whoever claimed it before can no longer
//! change it. A job is therefore begun at least once, and finished once.
//!
//! All of these are calls on a [`Transaction`](super::Transaction), so that a job and the object it is about change together. Each
//! locks what it decides on, so that a runner calls them in `write_locking`.

mod accept;
mod claim;
mod finish;
mod model;
mod operate;
mod query;

pub use accept::{Accepted, NewJob, Unique, accept};
pub use claim::{Claim, Renewed, claim, recover, renew, report, save_handle};
pub use finish::{Retry, cancelled, complete, fail, release};
pub use model::{Job, JobLease, Progress, State};
pub use operate::{Cancelled, cancel, retry, trim};
pub use query::{Filter, count, get, list, live_of_object, oldest_live};
