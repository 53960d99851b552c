//! The load balancer driver `@NAME@`: it keeps what it is told in memory. Put your appliance where the notes say so.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use capstan_plugin_api::{
    CallContext, ConfigSchema, DeclarativeLoadBalancer, Driver, DriverError, Host, LogLevel, Outcome, driver,
    load_balancer::{
        AdminState, Applied, ApplyRequest, LoadBalancer, LoadBalancerResult, LoadBalancerState, Observed,
        ObservedLoadBalancer, Target,
    },
};
use serde::Deserialize;

/// What stands in the entry's `config`; the host checks it against this before the driver is opened.
#[derive(Debug, Default, Deserialize, ConfigSchema)]
#[serde(default)]
pub struct Config {
    /// Where the appliance is.
    address: String,
}

/// What one device carries.
#[derive(Default)]
struct Device {
    generation: u64,
    load_balancers: Vec<LoadBalancer>,
}

pub struct Balancer {
    config: Config,
    devices: Mutex<BTreeMap<String, Device>>,
}

impl Balancer {
    fn devices(&self) -> MutexGuard<'_, BTreeMap<String, Device>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the load balancers that a call is about.
    fn change(&self, target: &Target, change: impl Fn(&mut Device)) -> Result<Outcome<Applied>, DriverError> {
        let mut devices = self.devices();
        let device = devices.entry(target.device.clone()).or_default();
        refuse_older(device, target.generation)?;
        // Here: tell the appliance.
        change(device);
        device.generation = device.generation.max(target.generation);
        Ok(Outcome::Done(applied(&device.load_balancers)))
    }
}

fn refuse_older(device: &Device, generation: u64) -> Result<(), DriverError> {
    if generation != 0 && generation < device.generation {
        return Err(DriverError::conflict(format!("generation {generation} is older than {}", device.generation)));
    }
    Ok(())
}

fn applied(load_balancers: &[LoadBalancer]) -> Applied {
    let result = |one: &LoadBalancer| LoadBalancerResult { id: one.id.clone(), ..LoadBalancerResult::default() };
    Applied { load_balancers: load_balancers.iter().map(result).collect(), ..Applied::default() }
}

fn is_meant(target: &Target, one: &LoadBalancer) -> bool {
    target.load_balancer.as_ref().is_none_or(|id| *id == one.id)
}

impl Driver for Balancer {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        // Here: connect to the appliance, or fail with a message for the operator.
        Ok(Self { config, devices: Mutex::default() })
    }
}

#[driver(name = "@NAME@", vendor = "Your company", description = "Balances on your appliance", serial_by = "device")]
impl DeclarativeLoadBalancer for Balancer {
    fn apply(&self, call: &CallContext, request: &ApplyRequest) -> Result<Outcome<Applied>, DriverError> {
        call.check()?;
        let mut devices = self.devices();
        let device = devices.entry(request.device.clone()).or_default();
        refuse_older(device, request.generation)?;
        // Here: make the appliance what `request` says. Applied twice is applied once.
        call.log(LogLevel::Info, &format!("{} at {:?}", request.device, self.config.address));
        *device = Device { generation: request.generation, load_balancers: request.load_balancers.clone() };
        Ok(Outcome::Done(Applied { method: "memory".into(), ..applied(&request.load_balancers) }))
    }

    fn observe(&self, _call: &CallContext, target: &Target) -> Result<Observed, DriverError> {
        let devices = self.devices();
        let Some(device) = devices.get(&target.device) else { return Ok(Observed::default()) };
        // Here: ask the appliance what really runs.
        let seen = |one: &LoadBalancer| ObservedLoadBalancer {
            id: one.id.clone(),
            state: match one.admin_state {
                AdminState::Suspended => LoadBalancerState::Suspended,
                _ => LoadBalancerState::Running,
            },
            ..ObservedLoadBalancer::default()
        };
        let load_balancers = device.load_balancers.iter().filter(|one| is_meant(target, one)).map(seen).collect();
        Ok(Observed { generation: device.generation, load_balancers, ..Observed::default() })
    }

    fn suspend(&self, _call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        self.change(target, |device| {
            device.load_balancers.iter_mut().filter(|one| is_meant(target, one)).for_each(|one| one.admin_state = AdminState::Suspended);
        })
    }

    fn enable(&self, _call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        self.change(target, |device| {
            device.load_balancers.iter_mut().filter(|one| is_meant(target, one)).for_each(|one| one.admin_state = AdminState::Up);
        })
    }

    fn delete(&self, _call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        self.change(target, |device| device.load_balancers.retain(|one| !is_meant(target, one)))
    }
}
