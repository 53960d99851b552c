//! The floating addresses of a cloud's account.

use capstan_plugin_api::cloud::Page;
use capstan_plugin_api::{
    DriverError,
    cloud::{AllocateIp, AssignIp, FloatingIp, Ip, List},
};

use super::{Cloud, MOST_PAGES, PAGE};
use crate::drivers::CallOptions;

impl Cloud {
    /// Takes a floating address.
    pub async fn allocate_ip(&self) -> Result<FloatingIp, DriverError> {
        self.call("allocate_ip", &AllocateIp::default(), CallOptions::default()).await
    }

    /// Gives a floating address back.
    pub async fn release_ip(&self, ip: &Ip) -> Result<(), DriverError> {
        self.call("release_ip", ip, CallOptions::default()).await
    }

    /// Puts a floating address on a node.
    pub async fn assign_ip(&self, request: &AssignIp) -> Result<(), DriverError> {
        self.call("assign_ip", request, CallOptions::default()).await
    }

    /// Takes a floating address off a node.
    pub async fn remove_ip(&self, request: &AssignIp) -> Result<(), DriverError> {
        self.call("remove_ip", request, CallOptions::default()).await
    }

    /// All floating addresses of the account.
    pub async fn ips(&self) -> Result<Vec<FloatingIp>, DriverError> {
        let mut all = Vec::new();
        let mut filter = List { limit: Some(PAGE), ..List::default() };
        for _ in 0..MOST_PAGES {
            let page: Page<FloatingIp> = self.call("list_ips", &filter, CallOptions::default()).await?;
            all.extend(page.items);
            filter.cursor = page.next;
            if filter.cursor.is_none() {
                return Ok(all);
            }
        }
        Err(DriverError::internal("the cloud's list of floating addresses does not end"))
    }
}
