//! Everything that the author of a Capstan driver depends on.
//!
//! A driver is a shared library that implements one of the traits [`CloudDriver`], [`MgmDriver`], [`LoadBalancerDriver`],
//! [`DeclarativeLoadBalancer`] or [`DatabaseDriver`], with the [`driver`] attribute on the `impl` block. The traits are
//! synchronous, take `&self`, and are called from many threads. `docs/driver-guide.md` is the way in.

pub mod abi;
pub mod boundary;
pub mod call;
pub mod cloud;
pub mod database;
pub mod dispatch;
pub mod error;
pub mod host;
pub mod json;
pub mod languages;
pub mod load_balancer;
pub mod manifest;
pub mod mgm;
pub mod schema;
pub mod secret;

use serde::de::DeserializeOwned;

pub use call::{CallContext, Health, Outcome, Pending, Token};
pub use capstan_plugin_api_macros::{ConfigSchema, driver};
pub use cloud::CloudDriver;
pub use database::DatabaseDriver;
pub use error::{DriverError, ErrorCode, Retry};
pub use host::{Host, LogLevel, Program, ProgramSpec, Versioned};
pub use load_balancer::{DeclarativeLoadBalancer, LoadBalancerDriver};
pub use manifest::{Manifest, SerialBy};
pub use mgm::MgmDriver;
pub use schema::ConfigSchema;
pub use secret::Secret;
// What the attribute's output and a driver's configuration need, so that an author depends on one crate.
pub use {serde, serde_json};

/// What every driver has, whatever its kind.
pub trait Driver: Sized + Send + Sync + 'static {
    /// The configuration, declared as a struct with `#[derive(Deserialize, ConfigSchema)]`; `()` for none.
    type Config: DeserializeOwned + ConfigSchema;

    /// Opens an instance. Two instances share nothing: state lives in `self` or in the host's state service, never in statics.
    fn open(config: Self::Config, host: Host) -> Result<Self, DriverError>;

    /// Tells whether the instance can work; quick, and without side effects.
    fn health(&self) -> Result<Health, DriverError> {
        Ok(Health::default())
    }

    /// Ends the instance; no call is out. Programs started through the host go on.
    fn close(self) {}
}

/// The guide's driver is compiled and called as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/driver-guide.md")]
mod guide {}
