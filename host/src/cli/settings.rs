//! From the configuration to what each room is told.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use capstan_plugin_api::Manifest;

use super::exit::Failure;
use crate::{
    config::{self, Config, DriverProgram, Drivers, Gearman, KnownDriver, WorkerProtocol},
    drivers::{self, Confinement, DriverEntry, Isolation, Kind, Settings},
    jobs::{Access, Keepalive, ServerOptions, TlsFiles, TlsIdentity, Transport, WorkerOptions},
    worker,
};

/// The folder of libraries that are named without one.
fn driver_directory(drivers: &Drivers) -> PathBuf {
    drivers.directory.clone().unwrap_or_else(|| {
        drivers::default_directory(&env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/capstan")))
    })
}

/// The file of a driver; none for one that is a command.
pub fn library(drivers: &Drivers, driver: &KnownDriver) -> Option<PathBuf> {
    match &driver.program {
        DriverProgram::Library(path) => Some(driver_directory(drivers).join(path)),
        DriverProgram::Command(_) => None,
    }
}

/// What the registry is told of the drivers that `wanted` picks.
pub fn driver_settings(config: &Config, wanted: impl Fn(&KnownDriver) -> bool) -> Settings {
    // Children are started elsewhere, so nothing may be relative to where the daemon was started.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut settings = Settings::new(absolute(&config.daemon.state_dir), absolute(&driver_directory(&config.drivers)));
    settings.trust_own_files = config.drivers.trust_own_files;
    settings.call_timeout = config.drivers.call_timeout;
    settings.health_interval = config.drivers.health_interval;
    settings.drain_timeout = config.drivers.drain_timeout;
    for driver in config.known_drivers.iter().filter(|driver| wanted(driver)) {
        settings.drivers.push(entry(driver));
    }
    settings
}

fn entry(driver: &KnownDriver) -> DriverEntry {
    let mut entry = DriverEntry::new(driver.kind, &driver.name, "");
    entry.program = driver.program.clone();
    entry.channel = driver.channel;
    entry.isolation = driver.isolation;
    entry.max_concurrency = driver.max_concurrency;
    entry.max_queue = driver.max_queue;
    entry.call_timeout = Some(driver.call_timeout);
    entry.required = driver.required;
    entry.confinement =
        Confinement { limits: driver.limits.clone(), sandbox: driver.sandbox.clone(), user: driver.user.clone() };
    entry.sha256 = driver.sha256.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect());
    entry.trust = driver.trust.clone();
    entry.config = driver.config.expose().clone();
    entry.secrets = secrets(driver);
    entry
}

/// The secrets of a driver's section by their dotted names, for `secret.get`.
fn secrets(driver: &KnownDriver) -> BTreeMap<String, capstan_plugin_api::Secret> {
    let config = driver.config.expose();
    driver
        .config
        .secret_pointers()
        .iter()
        .filter_map(|pointer| {
            let value = config.pointer(pointer)?.as_str()?;
            let name = pointer.trim_start_matches('/').replace('/', ".");
            Some((name, capstan_plugin_api::Secret::new(value)))
        })
        .collect()
}

/// An entry for a driver that no configuration names, in a process of its own.
pub fn entry_of(manifest: &Manifest, program: DriverProgram) -> Result<DriverEntry, Failure> {
    let kind = Kind::from_name(&manifest.kind).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let (name, found) = (&manifest.name, &manifest.kind);
        Failure::Failed(format!("{name}: found kind {found:?} in its manifest; expected one of {}", known.join(", ")))
    })?;
    let mut entry = DriverEntry::new(kind, &manifest.name, "");
    entry.program = program;
    entry.isolation = Isolation::Process;
    Ok(entry)
}

fn tls_files(files: &config::TlsFiles) -> TlsFiles {
    let identity = TlsIdentity { certificate: files.cert.clone(), key: files.key.clone() };
    TlsFiles { ca: files.ca.clone(), identity: Some(identity) }
}

/// How the job servers are reached.
pub fn transport(gearman: &Gearman) -> Result<Transport, Failure> {
    let transport = match &gearman.tls {
        Some(files) => Transport::tls(&tls_files(files)).map_err(|error| Failure::Usage(error.to_string()))?,
        None => Transport::plain(),
    };
    if !gearman.keepalive {
        return Ok(transport);
    }
    let keepalive = Keepalive { idle: gearman.keepidle, interval: gearman.keepintvl, count: gearman.keepcnt };
    Ok(transport.with_keepalive(keepalive))
}

/// The embedded job server.
pub fn job_server(gearman: &Gearman) -> ServerOptions {
    ServerOptions {
        tls: gearman.embedded_tls.as_ref().map(tls_files),
        access: Access { administrators: gearman.embedded_admins.clone(), rules: Vec::new() },
        max_connections: gearman.limits.max_connections,
        max_packet: gearman.limits.max_packet_bytes,
        max_queue: gearman.limits.max_queued_jobs,
        ..ServerOptions::default()
    }
}

/// The worker's side of the job servers.
pub fn worker_options(config: &Config) -> WorkerOptions {
    WorkerOptions {
        max_payload: config.worker.max_message_bytes,
        reconnect_sleep: config.gearman.reconnect_sleep,
        ..WorkerOptions::new(&config.worker.function, &config.worker.function)
    }
}

/// What the worker's controller is told.
pub fn controller(config: &Config) -> worker::Settings {
    let driver = config.known_drivers.get(Kind::LoadBalancer, &config.worker.driver);
    let call_timeout = driver.map_or(config.drivers.call_timeout, |driver| driver.call_timeout);
    let defaults = worker::Settings::new(&config.worker.device);
    worker::Settings {
        form: match config.worker.protocol {
            WorkerProtocol::Libra => worker::MessageForm::Libra,
            WorkerProtocol::Seed => worker::MessageForm::Seed,
        },
        job_servers: config.gearman.endpoints(),
        diagnostics_targets: config.worker.diagnostics_targets.clone(),
        diagnostics_timeout: config.worker.diagnostics_timeout,
        call_timeout,
        max_message_bytes: config.worker.max_message_bytes,
        max_depth: config.worker.max_depth,
        ..defaults
    }
}
