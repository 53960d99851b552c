//! From the configuration to what each room is told.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use capstan_plugin_api::Manifest;

use super::exit::Failure;
use crate::{
    config::{
        self, AnonymousRole, ClientAuth, CloudEntry, Config, DriverProgram, Drivers, Gearman, InstanceConfig,
        KnownDriver, WorkerProtocol,
    },
    drivers::{self, Confinement, DriverEntry, Isolation, Kind, Settings},
    http::{self, ClientCertificates, ConnectionLimits, Gate, ServerFiles},
    identity::{self, Issuing, node},
    jobs::{Access, Keepalive, ServerOptions, ServerTls, TlsFiles, TlsIdentity, Transport, WorkerOptions},
    telemetry::Figures,
    tls::{LocalAuthority, OwnClient, ServerIdentity},
    worker,
};

/// The folder of libraries that are named without one.
fn driver_directory(drivers: &Drivers) -> PathBuf {
    drivers.directory.clone().unwrap_or_else(|| {
        drivers::default_directory(&env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/capstan")))
    })
}

/// The file of a driver, a library or the program of its command.
pub fn program(drivers: &Drivers, driver: &KnownDriver) -> PathBuf {
    driver_directory(drivers).join(match &driver.program {
        DriverProgram::Library(path) => path.as_path(),
        DriverProgram::Command(command) => Path::new(command.first().map_or("", String::as_str)),
    })
}

/// The file of a driver; none for one that is a command.
pub fn library(drivers: &Drivers, driver: &KnownDriver) -> Option<PathBuf> {
    matches!(driver.program, DriverProgram::Library(_)).then(|| program(drivers, driver))
}

/// What the registry is told of the drivers that `wanted` picks.
pub fn driver_settings(config: &Config, wanted: impl Fn(&KnownDriver) -> bool) -> Settings {
    // Both are absolute: children are started elsewhere, where nothing relative would be found.
    let mut settings = Settings::new(&config.daemon.state_dir, driver_directory(&config.drivers));
    settings.trust_own_files = config.drivers.trust_own_files;
    settings.call_timeout = config.drivers.call_timeout;
    settings.health_interval = config.drivers.health_interval;
    settings.drain_timeout = config.drivers.drain_timeout;
    for driver in config.known_drivers.iter().filter(|driver| wanted(driver)) {
        let clouds: Vec<_> = config
            .cloud_farm
            .iter()
            .filter(|cloud| driver.kind == Kind::Cloud && cloud.engine == driver.name)
            .map(|cloud| cloud_entry(driver, cloud))
            .collect();
        // A cloud driver is opened for each cloud of the farm that it serves, with that cloud's account.
        if clouds.is_empty() {
            settings.drivers.push(entry(driver));
        }
        settings.drivers.extend(clouds);
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
    entry.secrets = secrets(&driver.config);
    entry
}

/// What the registry calls the instance of a driver that serves a cloud of the farm.
pub fn cloud_instance(cloud: &CloudEntry) -> String {
    format!("{}@{}", cloud.engine, cloud.name)
}

fn cloud_entry(driver: &KnownDriver, cloud: &CloudEntry) -> DriverEntry {
    let mut entry = entry(driver);
    entry.name = cloud_instance(cloud);
    entry.config = cloud.config.expose().clone();
    entry.secrets = secrets(&cloud.config);
    entry
}

/// The secrets of a driver's section by their dotted names, for `secret.get`.
fn secrets(config: &InstanceConfig) -> BTreeMap<String, capstan_plugin_api::Secret> {
    let pointers = config.secret_pointers();
    let config = config.expose();
    pointers
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

/// Whether the daemon keeps state: for a role that has some, or because callers are known by tokens.
pub fn keeps_state(config: &Config) -> bool {
    let http = &config.http;
    let by_tokens = http.anonymous == AnonymousRole::None || http.listen.iter().any(|one| !one.ip().is_loopback());
    let has_clouds = config.daemon.roles.contains(&config::Role::Orchestrator);
    config.has_authority() || has_clouds || (http.enabled && by_tokens)
}

/// Certificate and key of the listeners.
pub fn server_files(http: &config::Http) -> Option<ServerFiles> {
    http.tls.as_ref().map(|tls| ServerFiles {
        identity: server_identity(&tls.identity),
        clients: match (tls.client_auth, tls.client_ca.clone()) {
            (ClientAuth::Optional, ca) => ClientCertificates::Optional { ca },
            (ClientAuth::Required, ca) => ClientCertificates::Required { ca },
            (ClientAuth::None, _) => ClientCertificates::None,
        },
    })
}

/// Who may call without a token.
pub fn gate(http: &config::Http, figures: Figures) -> Gate {
    let lists = [
        (&http.client_admins, http::Role::Admin),
        (&http.client_operators, http::Role::Operator),
        (&http.client_viewers, http::Role::Viewer),
    ];
    let names = lists.into_iter().flat_map(|(names, role)| names.iter().map(move |name| (name.clone(), role)));
    Gate::new(figures).certificates(names.collect()).on_loopback(match http.anonymous {
        AnonymousRole::Operator => Some(http::Role::Operator),
        AnonymousRole::Viewer => Some(http::Role::Viewer),
        AnonymousRole::None => None,
    })
}

/// Bounds of connections and requests.
pub fn http_limits(http: &config::Http) -> (ConnectionLimits, http::Limits) {
    let connections = ConnectionLimits { max_connections: http.max_connections, header_timeout: http.header_timeout };
    let requests = http::Limits {
        max_body: http.max_body_bytes,
        body_timeout: http.body_timeout,
        request_timeout: http.request_timeout,
    };
    (connections, requests)
}

fn server_identity(identity: &config::ServerIdentity) -> ServerIdentity {
    match identity {
        config::ServerIdentity::Files { cert, key } => {
            ServerIdentity::Files(TlsIdentity { certificate: cert.clone(), key: key.clone() })
        }
        config::ServerIdentity::Names(_) => ServerIdentity::Issued,
    }
}

/// The names for which the daemon's own authority certifies its servers.
pub fn issuing(config: &Config) -> Issuing {
    let http = config.http.tls.iter().flat_map(|tls| tls.identity.names());
    let embedded = config.gearman.embedded_tls.iter().flat_map(|tls| tls.identity.names());
    let mut names: Vec<String> = http.chain(embedded).cloned().collect();
    if !names.is_empty() {
        // By these the daemon itself, and whoever is on this machine, reaches them.
        names.extend(["127.0.0.1", "::1", "localhost"].map(str::to_owned));
        names.push(config.gearman.embedded_listen.ip().to_string());
    }
    names.sort();
    names.dedup();
    Issuing(names)
}

/// What the authority for the certificates of nodes goes by.
pub fn identity(config: &Config) -> identity::Settings {
    let http = &config.http;
    let lists = [&http.client_admins, &http.client_operators, &http.client_viewers];
    let callers: Vec<String> = lists.into_iter().flatten().cloned().collect();
    let access = access(&config.gearman);
    identity::Settings {
        life: config.identity.certificate_life,
        ca: config.identity.ca.clone(),
        is_reserved: Arc::new(move |name| callers.iter().any(|caller| caller == name) || access.is_administrator(name)),
    }
}

/// What this machine is as a node, if it is one.
pub fn node_identity(config: &Config) -> Option<node::Settings> {
    let identity = config.identity.node.as_ref()?;
    let trust = match (&identity.authority, &identity.fingerprint) {
        (Some(pem), _) => node::Trust::Authority(pem.clone()),
        (None, Some(fingerprint)) => node::Trust::Fingerprint(fingerprint.clone()),
        (None, None) => node::Trust::Loopback,
    };
    Some(node::Settings {
        url: identity.enrol_url.clone(),
        token: identity.token.clone(),
        directory: identity.directory.clone(),
        name: identity.name.clone(),
        trust,
        renew_before: identity.renew_before,
    })
}

fn tls_files(files: &config::TlsFiles) -> TlsFiles {
    let identity = TlsIdentity { certificate: files.cert.clone(), key: files.key.clone() };
    TlsFiles { ca: files.ca.clone(), identity: Some(identity) }
}

/// How the job servers are reached. Files that the configuration names count before the certificate that a node fetches itself.
pub fn transport(
    gearman: &Gearman,
    keeper: Option<&node::Keeper>,
    own: Option<&OwnClient>,
) -> Result<Transport, Failure> {
    let is_issued = gearman.embedded_tls.as_ref().is_some_and(|tls| !tls.identity.names().is_empty());
    let own = own.filter(|_| gearman.is_embedded() && is_issued);
    let transport = match (&gearman.tls, own, keeper) {
        (Some(files), ..) => Transport::tls(&tls_files(files)).map_err(|error| Failure::Usage(error.to_string()))?,
        (None, Some(own), _) => Transport::watched(own.config.clone()),
        (None, None, Some(keeper)) => Transport::watched(keeper.tls()),
        (None, None, None) => Transport::plain(),
    };
    if !gearman.keepalive {
        return Ok(transport);
    }
    let keepalive = Keepalive { idle: gearman.keepidle, interval: gearman.keepintvl, count: gearman.keepcnt };
    Ok(transport.with_keepalive(keepalive))
}

fn access(gearman: &Gearman) -> Access {
    Access { administrators: gearman.embedded_admins.clone(), rules: Vec::new() }
}

/// The embedded job server.
pub fn job_server(gearman: &Gearman, authority: LocalAuthority) -> ServerOptions {
    ServerOptions {
        tls: gearman
            .embedded_tls
            .as_ref()
            .map(|tls| ServerTls { ca: tls.ca.clone(), identity: server_identity(&tls.identity) }),
        access: {
            let mut access = access(gearman);
            access.administrators.extend(authority.client.as_ref().map(|client| client.name.clone()));
            access
        },
        authority,
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
