//! Capstan: a daemon that hosts drivers. Each room knows only the rooms below it; `docs/ARCHITECTURE.md` is the map.

mod backoff;
pub mod cli;
pub mod config;
pub mod conformance;
pub mod drivers;
pub mod failpoint;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod lbaas;
pub mod orchestrator;
pub mod pool;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod worker;
