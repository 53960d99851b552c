//! The driver itself: each method takes its device's lock and hands over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use capstan_plugin_api::{
    CallContext, DeclarativeLoadBalancer, Driver, DriverError, Health, Host, Outcome, driver,
    load_balancer::{
        Applied, ApplyRequest, ArchiveRequest, Archived, Observed, Statistics, Status, Target, Validation,
    },
};

use crate::{
    archive,
    device::{Device, Fault, Paths},
    runtime::Features,
    settings::Settings,
    spec,
};

/// HAProxy on this machine.
pub struct HaProxy {
    settings: Settings,
    /// What the running version can do, under its version.
    features: Mutex<Option<(String, Features)>>,
    /// One for each device: calls about one device do not overlap even when a host lets them.
    devices: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

impl HaProxy {
    fn on<T>(
        &self,
        call: &CallContext,
        device: &str,
        act: impl FnOnce(&Device<'_>) -> Result<T, Fault>,
    ) -> Result<T, DriverError> {
        let paths = Paths::of(&self.settings, device);
        let turn = Arc::clone(lock(&self.devices).entry(paths.slug.clone()).or_default());
        let _turn = lock(&turn);
        let device = Device::open(&self.settings, &self.features, call, &paths)?;
        Ok(act(&device)?)
    }

    /// For calls that look only: no directory is made for a device that was never there.
    fn look<T>(
        &self,
        call: &CallContext,
        device: &str,
        act: impl FnOnce(&Device<'_>) -> Result<T, Fault>,
        absent: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        if Paths::of(&self.settings, device).state.exists() { self.on(call, device, act) } else { absent() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn was_deleted<T>() -> Result<T, DriverError> {
    Err(DriverError::not_found("The load balancers of this device were deleted."))
}

impl Driver for HaProxy {
    type Config = Settings;

    fn open(config: Settings, _host: Host) -> Result<Self, DriverError> {
        Ok(Self { settings: config.checked()?, features: Mutex::default(), devices: Mutex::default() })
    }

    fn health(&self) -> Result<Health, DriverError> {
        let program = &self.settings.haproxy_path;
        if program.is_file() {
            return Ok(Health::default());
        }
        Err(DriverError::unavailable("HAProxy is not installed.")
            .for_operator(format!("{} is no file; install haproxy or set haproxy_path", program.display())))
    }
}

#[driver(name = "haproxy", vendor = "Capstan", serial_by = "device")]
impl DeclarativeLoadBalancer for HaProxy {
    fn apply(&self, call: &CallContext, request: &ApplyRequest) -> Result<Outcome<Applied>, DriverError> {
        self.on(call, &request.device, |device| device.apply(request)).map(Outcome::Done)
    }

    fn observe(&self, call: &CallContext, target: &Target) -> Result<Observed, DriverError> {
        self.look(call, &target.device, |device| device.observe(target), || Ok(Observed::default()))
    }

    fn suspend(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        self.on(call, &target.device, |device| device.suspend(target)).map(Outcome::Done)
    }

    fn enable(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        self.on(call, &target.device, |device| device.enable(target)).map(Outcome::Done)
    }

    fn delete(&self, call: &CallContext, target: &Target) -> Result<Outcome<Applied>, DriverError> {
        self.on(call, &target.device, |device| device.delete(target)).map(Outcome::Done)
    }

    fn validate(&self, _call: &CallContext, request: &ApplyRequest) -> Result<Validation, DriverError> {
        Ok(Validation { load_balancers: spec::check(request, &self.settings).results })
    }

    fn status(&self, call: &CallContext, target: &Target) -> Result<Status, DriverError> {
        self.look(call, &target.device, |device| device.status(target), was_deleted)
    }

    fn statistics(&self, call: &CallContext, target: &Target) -> Result<Statistics, DriverError> {
        self.look(call, &target.device, |device| device.statistics(target), was_deleted)
    }

    fn archive(&self, call: &CallContext, request: &ArchiveRequest) -> Result<Outcome<Archived>, DriverError> {
        archive::archive(&self.settings, call, request).map(Outcome::Done)
    }
}
