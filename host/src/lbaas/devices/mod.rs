//! Devices: the load-balancer nodes that are known here. libra's admin API v1, in whose words pool managers register what they have
//! built; `docs/contract/device-api.md` is the wire.

mod body;
mod fault;
mod routes;
mod table;
mod wire;

pub(super) use routes::routes;
pub use table::{Device, Devices, NewDevice, Usage, migrations};
