//! Puts a copy of the log away.

use capstan_plugin_api::{
    CallContext, DriverError,
    load_balancer::{ArchiveRequest, Archived},
};

use crate::settings::Settings;

/// See [`capstan_plugin_api::DeclarativeLoadBalancer::archive`].
pub fn archive(_s: &Settings, _call: &CallContext, request: &ArchiveRequest) -> Result<Archived, DriverError> {
    Err(DriverError::invalid_argument(format!("Driver does not support archive method '{}'", request.method)))
}
