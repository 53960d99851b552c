//! Floating addresses.

use std::net::{IpAddr, Ipv4Addr};

use capstan_plugin_api::{
    DriverError, ErrorCode,
    cloud::{AllocateIp, AssignIp, FloatingIp, List, Page},
};
use serde::{Deserialize, Serialize};

use super::{
    change::{Change, Plan, Turn, nothing},
    paging::few,
    shelf::within,
    state::World,
};
use crate::{catalog::unknown, config::Settings};

/// 198.18.0.0/15, which is set aside for measurements (RFC 2544).
const NETWORK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The last address that is given.
const LAST: u64 = (1 << 17) - 2;
/// The one pool.
const POOL: &str = "public";

/// A floating address that was taken; its number is its place in the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IpRecord {
    /// Number of the node that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<u64>,
}

pub(super) fn address(number: u64) -> IpAddr {
    Ipv4Addr::from(u32::from(NETWORK) | number as u32).into()
}

impl World {
    pub(crate) fn list_ips(&self, request: &List, settings: &Settings) -> Result<Page<FloatingIp>, DriverError> {
        let all = self.ips.items.iter().map(|(number, record)| (*number, self.floating_ip(*number, record)));
        // An address has no name: asking for one by name finds nothing.
        few(request, settings.page_size, all, |_| "")
    }

    pub(crate) fn allocate_ip(&self, request: &AllocateIp, turn: &Turn<'_>) -> Plan<FloatingIp> {
        if let Some(pool) = request.pool.as_deref().filter(|pool| *pool != POOL) {
            return Err(unknown("pool of addresses", pool));
        }
        within("floating_ips", self.ips.len(), 1, turn.settings.quotas.floating_ips)?;
        let free = |number: &u64| !self.ips.items.contains_key(number);
        // A given back address comes again only when all others have had their turn.
        let number = (self.ips.made + 1..=LAST).chain(1..=LAST).find(free).ok_or_else(|| {
            DriverError::new(ErrorCode::QUOTA_EXCEEDED, format!("all {LAST} floating addresses are taken"))
        })?;
        let record = IpRecord { node: None };
        let answer = self.floating_ip(number, &record);
        Ok((vec![Change::Ip(number, Some(record))], answer))
    }

    pub(crate) fn release_ip(&self, address: IpAddr) -> Plan<()> {
        let (number, record) = self.ip(address)?;
        if record.node.is_some() {
            return Err(DriverError::conflict(format!("{address} is on a node; remove it there first")));
        }
        Ok((vec![Change::Ip(number, None)], ()))
    }

    /// Assigning it again to the same node is a success.
    pub(crate) fn assign_ip(&self, request: &AssignIp, turn: &Turn<'_>) -> Plan<()> {
        let (number, record) = self.ip(request.address)?;
        let (node, _) = self.alive(&request.node, turn.now)?;
        match record.node {
            Some(holder) if holder == node => nothing(()),
            Some(_) => Err(DriverError::conflict(format!("{} is on another node", request.address))),
            None => Ok((vec![Change::Ip(number, Some(IpRecord { node: Some(node) }))], ())),
        }
    }

    pub(crate) fn remove_ip(&self, request: &AssignIp, turn: &Turn<'_>) -> Plan<()> {
        let (number, record) = self.ip(request.address)?;
        let (node, _) = self.alive(&request.node, turn.now)?;
        if record.node != Some(node) {
            return Err(DriverError::conflict(format!("{} is not on this node", request.address)));
        }
        Ok((vec![Change::Ip(number, Some(IpRecord { node: None }))], ()))
    }

    fn ip(&self, address: IpAddr) -> Result<(u64, &IpRecord), DriverError> {
        let number = match address {
            IpAddr::V4(v4) => u64::from(u32::from(v4)).checked_sub(u64::from(u32::from(NETWORK))),
            IpAddr::V6(_) => None,
        };
        let found = number.and_then(|number| Some((number, self.ips.items.get(&number)?)));
        found.ok_or_else(|| unknown("floating address", &address.to_string()))
    }

    fn floating_ip(&self, number: u64, record: &IpRecord) -> FloatingIp {
        let node = record.node.and_then(|node| Some(self.nodes.items.get(&node)?.id(node)));
        FloatingIp { id: format!("ip-{number}"), address: address(number), node, pool: Some(POOL.to_owned()) }
    }
}
