//! Whether the stocks are to be counted before it is time: somebody wants it, here or on another daemon, or a stock has rested enough.

use std::time::Duration;

use tokio::time::Instant;

use super::Server;
use crate::{
    pool::records::{ScheduleRecord, StockRecord},
    store::Error,
};

/// What a look at the store came to.
#[derive(Default)]
pub(super) struct Early {
    /// The stocks are to be counted now.
    pub is_due: bool,
    /// When the next rest of a stock ends.
    pub again: Option<Instant>,
}

impl Server {
    /// Looks. While the store cannot be read the schedules run at their times, which readiness tells of.
    pub(super) async fn look_early(&self) -> Early {
        let settings = self.pool.settings();
        let looked = self.pool.store().read(move |tx| {
            let Some(count) = ScheduleRecord::find(tx, ScheduleRecord::COUNT)? else { return Ok(Early::default()) };
            let now = tx.now();
            let mut early = Early { is_due: count.next_at <= now, again: None };
            for stock in &settings.stocks {
                let StockRecord { not_before, paused, .. } = StockRecord::find(tx, &stock.name)?;
                if paused.is_some() {
                    continue;
                }
                if not_before > now {
                    let rest = Duration::from_millis(u64::try_from(not_before - now).unwrap_or_default());
                    let end = Instant::now() + rest;
                    early.again = Some(early.again.map_or(end, |again| again.min(end)));
                } else if not_before > count.began_at {
                    // Counted while it rested, and not since.
                    early.is_due = true;
                }
            }
            Ok::<_, Error>(early)
        });
        looked.await.unwrap_or_default()
    }
}
