//! `[lbaas]`: the API server.

use crate::config::read::TableReader;

/// `[lbaas]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lbaas {
    /// Whether the device API answers without credentials on listeners of loopback, as libra's did.
    pub open_device_api: bool,
}

impl Lbaas {
    pub(super) fn read(table: &mut TableReader<'_, '_>) -> Self {
        Self { open_device_api: table.get("open_device_api", false) }
    }
}
