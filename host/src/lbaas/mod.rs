//! The API server between pool managers, nodes and tenants. So far: the devices.

pub mod devices;

use crate::{
    http::Routes,
    store::{Migration, Store},
};

/// Tables of this room.
pub fn migrations() -> Vec<Migration> {
    devices::migrations()
}

/// The routes of this room. `open`: the device API answers on loopback to who shows no credential.
pub fn routes(store: Store, open: bool) -> Routes {
    devices::routes(devices::Devices::new(store), open)
}
