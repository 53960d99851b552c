//! When so many nodes are lost that replacing them would do more harm than good.

use crate::config::Pool;

/// Whether `lost` nodes of `total`, within the window, are too many to be chance: more than the limit, and more than the share.
/// Cluster API, Octavia and libra's ping have such a limit each.
pub(super) fn is_too_many(settings: &Pool, lost: usize, total: usize) -> bool {
    let limit = usize::try_from(settings.loss_limit).unwrap_or(usize::MAX);
    let share = usize::try_from(settings.loss_share).unwrap_or(usize::MAX);
    lost > limit.max(total.saturating_mul(share) / 100)
}
