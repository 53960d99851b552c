//! What rooms know of their jobs before one is queued again.

use crate::store::{Error, Transaction, jobs::Job};

/// A room that has jobs.
pub trait Retries: Send + Sync {
    /// Why a job that failed or was cancelled is not queued again, and what to do instead; none when it may be, and for jobs of other
    /// rooms.
    ///
    /// # Errors
    /// The store's.
    fn refusal(&self, transaction: &mut Transaction<'_>, job: &Job) -> Result<Option<String>, Error>;
}
