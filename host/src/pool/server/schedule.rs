//! When each schedule runs next.

use std::time::Duration;

use tokio::time::Instant;

use crate::pool::{records::ScheduleRecord, settings::Settings};

/// A schedule, and when it runs next.
pub(super) struct Schedule {
    pub name: &'static str,
    pub interval: fn(&Settings) -> Duration,
    /// So much of the interval, more or less, is drawn by chance, so that daemons do not march in step.
    share: f64,
    pub next: Instant,
}

impl Schedule {
    /// All of them, due now.
    pub fn all() -> [Self; 4] {
        let next = Instant::now();
        [
            Self { name: ScheduleRecord::COUNT, interval: |settings| settings.check_interval, share: 0.0, next },
            Self { name: "failed_nodes", interval: |settings| settings.failed_interval, share: 0.0, next },
            Self { name: "reconcile", interval: |settings| settings.reconcile_interval, share: 0.2, next },
            Self { name: "health", interval: |settings| settings.health_interval, share: 0.0, next },
        ]
    }

    /// Has the stocks counted as soon as no schedule runs.
    pub fn count_now(schedules: &mut [Self]) {
        for schedule in schedules.iter_mut().filter(|schedule| schedule.name == ScheduleRecord::COUNT) {
            schedule.next = Instant::now();
        }
    }

    /// Arms it again, from now on.
    pub fn reset_scheduler(&mut self, interval: Duration) {
        let share = self.share;
        let (draw, _) = uuid::Uuid::new_v4().as_u64_pair();
        // 53 random bits, which a float holds exactly.
        let chance = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        self.next = Instant::now() + interval.mul_f64(1.0 - share + 2.0 * share * chance);
    }
}
