//! Logs, figures and the word to the service manager. Nothing here imports another room of the host.

pub mod figures;
mod histogram;
mod log;
pub mod names;
mod notify;
mod scrub;

pub use figures::{Amount, AmountFamily, Counter, CounterFamily, Figures, Gauge, GaugeFamily, HistogramFamily};
pub use histogram::Histogram;
pub use log::{Format, InitError, init};
pub use notify::{Notifier, State};
pub use scrub::{Scrubber, Scrubbing};
