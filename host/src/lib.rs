//! Capstan: a daemon that hosts drivers. Each room knows only the rooms below it; `docs/ARCHITECTURE.md` is the map.

mod backoff;
pub mod cli;
pub mod config;
pub mod conformance;
pub mod drivers;
pub mod http;
pub mod jobs;
pub mod telemetry;
pub mod worker;
