//! A loaded load-balancer driver as the appliance of this node.

use std::time::Duration;

use capstan_plugin_api::load_balancer::{
    Applied, ApplyRequest, ArchiveRequest, Archived, Observed, Statistics, Status, Target,
};
use serde::{Serialize, de::DeserializeOwned};

use super::appliance::{Answer, Appliance, Call};
use crate::drivers::{CallOptions, DriverHandle};

/// The appliance behind a driver. Calls about one device take turns where the driver's manifest asks for it.
pub struct DriverAppliance {
    handle: DriverHandle,
}

impl DriverAppliance {
    /// The appliance that `handle` drives. As long as it is there, the driver keeps the methods that every message needs.
    pub fn new(handle: DriverHandle) -> Self {
        Self { handle: handle.used_by("the worker", &["apply", "observe", "suspend", "enable", "delete"]) }
    }

    fn call<'a, P, R>(&'a self, method: &'static str, device: &'a str, call: &'a Call, params: &'a P) -> Answer<'a, R>
    where
        P: Serialize + Sync,
        R: DeserializeOwned + Send + 'a,
    {
        Box::pin(async move {
            let options = CallOptions {
                deadline: Some(call.time_left()),
                request_id: call.request_id.clone(),
                serial_key: Some(device.to_owned()),
                ..CallOptions::default()
            };
            self.handle.call(method, params, options).await
        })
    }
}

impl Appliance for DriverAppliance {
    fn call_timeout(&self) -> Option<Duration> {
        self.handle.call_timeout()
    }

    fn apply<'a>(&'a self, call: &'a Call, request: &'a ApplyRequest) -> Answer<'a, Applied> {
        self.call("apply", &request.device, call, request)
    }

    fn observe<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Observed> {
        self.call("observe", &target.device, call, target)
    }

    fn suspend<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Applied> {
        self.call("suspend", &target.device, call, target)
    }

    fn enable<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Applied> {
        self.call("enable", &target.device, call, target)
    }

    fn delete<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Applied> {
        self.call("delete", &target.device, call, target)
    }

    fn status<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Status> {
        self.call("status", &target.device, call, target)
    }

    fn statistics<'a>(&'a self, call: &'a Call, target: &'a Target) -> Answer<'a, Statistics> {
        self.call("statistics", &target.device, call, target)
    }

    fn archive<'a>(&'a self, call: &'a Call, request: &'a ArchiveRequest) -> Answer<'a, Archived> {
        self.call("archive", &request.device, call, request)
    }
}
