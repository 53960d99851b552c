//! A device as libra writes it.

use serde::Serialize;

use super::table::{Device, Usage};
use crate::http::Time;

/// A device on the wire.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceOnTheWire {
    id: i64,
    az: i64,
    updated: String,
    created: String,
    status: String,
    public_ip_addr: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    floating_ip_addr: String,
    /// None as long as no load balancer is kept here.
    load_balancers: [(); 0],
    /// In the answer to a registration alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    ping_count: Option<i64>,
}

impl DeviceOnTheWire {
    pub(super) fn shown(device: Device) -> Self {
        Self {
            id: device.id,
            az: device.az,
            updated: whole_seconds(device.updated),
            created: whole_seconds(device.created),
            status: device.status,
            public_ip_addr: device.public_address,
            name: device.name,
            kind: device.kind,
            floating_ip_addr: device.floating_address,
            load_balancers: [],
            ping_count: None,
        }
    }

    pub(super) fn registered(device: Device) -> Self {
        let ping_count = Some(device.ping_count);
        Self { ping_count, ..Self::shown(device) }
    }
}

/// libra counts what is not spare as taken, whatever it is.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct UsageOnTheWire {
    total: i64,
    free: i64,
    taken: i64,
}

impl From<Usage> for UsageOnTheWire {
    fn from(usage: Usage) -> Self {
        Self { total: usage.total, free: usage.free, taken: usage.total - usage.free }
    }
}

/// `YYYY-MM-DDTHH:MM:SS`, UTC.
fn whole_seconds(milliseconds: i64) -> String {
    Time(milliseconds).text().split('.').next().unwrap_or_default().to_owned()
}
