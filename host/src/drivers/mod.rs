//! Drivers: from a line in `known_drivers` to an answered call.
//!
//! [`Registry::open`] takes each configured file through the stages of [`Stage`] and keeps what came of it;
//! [`DriverHandle`] makes calls. A driver is a stranger's code: nothing that it is, answers or fails to answer ends
//! the daemon or costs another driver a call, as far as a shared address space allows.

mod boundary;
mod child;
mod compatibility;
mod configuration;
mod confinement;
mod elf;
mod error;
mod executor;
mod figures;
mod file;
pub mod frames;
mod gate;
mod generations;
mod handle;
mod hooks;
mod host_services;
mod in_process;
mod info;
mod instance_state;
mod integrity;
mod isolated;
mod kind;
mod libc_version;
mod loader;
mod manifest;
mod monitor;
mod opening;
mod pipeline;
mod pool;
mod probe;
mod process_table;
mod program_file;
mod program_launch;
mod programs;
mod registry;
mod schema_words;
mod settings;
mod store;
mod task;
mod turns;

pub use crate::config::{Channel, DriverProgram, Isolation, Limits, Sandbox};
pub use child::driver_main;
pub use configuration::{schema_faults, secret_texts};
pub use confinement::Confinement;
pub use elf::{ElfFacts, ElfFault, LibcVersion, read};
pub(crate) use error::cut;
pub use error::{DriverUnavailable, LoadError, RequiredDriversFailed, Stage};
pub use figures::Bucket;
pub use generations::{Applied, Edition, NotApplied, ReloadError, Reloaded};
pub use handle::{CallOptions, DriverHandle};
pub use hooks::Notification;
pub use info::{DriverInfo, DriverState, RunningCall};
pub use integrity::{Difference, PrivateKey, SignatureFault, differences, fingerprint, verify, write_public};
pub use kind::Kind;
pub use manifest::{DriverFile, inspect, is_library, is_name};
pub use pipeline::greet;
pub use probe::probe_main;
pub use registry::Registry;
pub use settings::{DriverEntry, Settings, Supervision, default_directory};
