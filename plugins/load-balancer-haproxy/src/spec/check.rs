//! Holds a specification against what HAProxy can run. Faults stand beside the load balancer or member that has them.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use capstan_plugin_api::{
    DriverError,
    load_balancer::{
        self, AdminState, ApplyRequest, Listener, LoadBalancer, LoadBalancerResult, MemberError, Persistence, Pool,
        algorithm,
    },
};

use super::{
    Monitor, Names, Service, Sticky, Wanted,
    member::{self, identifier, shortened},
};
use crate::{
    config::{
        Balance, Mode,
        token::{self, Kind},
    },
    settings::Settings,
};

/// Time limits and retries where a specification names none: libra's.
const DEFAULT_MS: u32 = 30_000;
const DEFAULT_RETRIES: u32 = 3;
/// HAProxy counts milliseconds in 31 bits.
const MAX_MS: u32 = i32::MAX as u32;

/// A specification that was looked at.
#[derive(Debug)]
pub struct Checked {
    /// What can be run of it.
    pub wanted: Wanted,
    /// One result for each load balancer, in its order.
    pub results: Vec<LoadBalancerResult>,
}

impl Checked {
    /// Nothing may be applied.
    pub fn is_refused(&self, skip_refused_members: bool) -> bool {
        self.results
            .iter()
            .any(|result| result.error.is_some() || (!skip_refused_members && !result.members.is_empty()))
    }
}

/// Looks at all of a request, so that every fault is told at once.
pub fn check(request: &ApplyRequest, settings: &Settings) -> Checked {
    let mut device = Device { settings, ids: HashSet::new(), backends: HashMap::new(), binds: HashMap::new() };
    let mut wanted = Wanted::default();
    let mut results = Vec::with_capacity(request.load_balancers.len());
    for load_balancer in &request.load_balancers {
        let mut result = LoadBalancerResult { id: load_balancer.id.clone(), ..Default::default() };
        match device.services(load_balancer, &mut result.members) {
            Ok(services) => wanted.services.extend(services),
            Err(error) => result.error = Some(error),
        }
        results.push(result);
    }
    Checked { wanted, results }
}

struct Device<'a> {
    settings: &'a Settings,
    ids: HashSet<String>,
    backends: HashMap<String, bool>,
    binds: HashMap<SocketAddr, String>,
}

fn refuse<T>(message: impl Into<String>) -> Result<T, DriverError> {
    Err(DriverError::invalid_argument(message))
}

impl Device<'_> {
    fn services(
        &mut self,
        load_balancer: &LoadBalancer,
        refused: &mut Vec<MemberError>,
    ) -> Result<Vec<Service>, DriverError> {
        identifier("load balancer", &load_balancer.id)?;
        if !self.ids.insert(load_balancer.id.clone()) {
            return refuse(format!("Load balancer '{}' is already defined.", load_balancer.id));
        }
        load_balancer.listeners.iter().map(|listener| self.service(load_balancer, listener, refused)).collect()
    }

    fn service(
        &mut self,
        load_balancer: &LoadBalancer,
        listener: &Listener,
        refused: &mut Vec<MemberError>,
    ) -> Result<Service, DriverError> {
        let protocol = listener.protocol.to_lowercase();
        let (mode, galera) = match protocol.as_str() {
            "http" => (Mode::Http, false),
            "tcp" => (Mode::Tcp, false),
            "galera" => (Mode::Tcp, true),
            _ => return refuse(format!("Unsupported protocol: {}", shortened(&listener.protocol))),
        };
        identifier("listener", &listener.id)?;
        let names = Names::of(mode, &listener.id, &protocol);
        match self.backends.insert(names.backend.clone(), galera) {
            None => {}
            Some(before) if before != galera => {
                return refuse("Protocols 'tcp' and 'galera' cannot share a device: both are served as tcp");
            }
            Some(_) if listener.id == protocol => {
                return refuse(format!("Protocol '{protocol}' is already defined."));
            }
            Some(_) => return refuse(format!("Listener '{}' is already defined.", listener.id)),
        }
        let port = match (listener.port, mode) {
            (None, Mode::Http) => 80,
            (None, Mode::Tcp) => return refuse("Port is required for this protocol."),
            (Some(0), _) => return refuse("Port 0 cannot be used; 1 to 65535 was expected"),
            (Some(port), _) => port,
        };
        let bind = SocketAddr::new(listener.address.unwrap_or(self.settings.bind_address), port);
        if let Some(other) = self.binds.insert(bind, listener.id.clone()) {
            return refuse(format!("Port {port} is already taken by listener '{other}'"));
        }
        if listener.connection_limit == Some(0) {
            return refuse("A connection limit of 0 would let nobody in; suspend the load balancer instead");
        }
        let empty = Pool {
            id: String::new(),
            algorithm: algorithm::ROUND_ROBIN.into(),
            members: Vec::new(),
            monitor: None,
            persistence: None,
            timeouts: load_balancer::Timeouts::default(),
        };
        let pool = pool_of(load_balancer, listener)?.unwrap_or(&empty);
        let balance = match pool.algorithm.as_str() {
            algorithm::ROUND_ROBIN => Balance::RoundRobin,
            algorithm::LEAST_CONNECTIONS => Balance::LeastConnections,
            _ => return refuse(format!("Invalid algorithm: {protocol}")),
        };
        Ok(Service {
            load_balancer: load_balancer.id.clone(),
            mode,
            galera,
            names,
            bind,
            suspended: load_balancer.admin_state == AdminState::Suspended,
            client_ms: time("client", listener.client_timeout_ms)?,
            connection_limit: listener.connection_limit,
            balance,
            connect_ms: time("connect", pool.timeouts.connect_ms)?,
            server_ms: time("server", pool.timeouts.server_ms)?,
            retries: pool.timeouts.retries.unwrap_or(DEFAULT_RETRIES),
            sticky: sticky(mode, galera, pool.persistence.as_ref())?,
            monitor: pool.monitor.as_ref().map(monitor).transpose()?,
            members: members(pool, galera, refused),
        })
    }
}

fn pool_of<'a>(load_balancer: &'a LoadBalancer, listener: &Listener) -> Result<Option<&'a Pool>, DriverError> {
    match (&listener.default_pool, load_balancer.pools.as_slice()) {
        (Some(id), pools) => match pools.iter().find(|pool| pool.id == *id) {
            Some(pool) => Ok(Some(pool)),
            None => {
                refuse(format!("Listener '{}' names the pool {:?}, which is not there", listener.id, shortened(id)))
            }
        },
        (None, []) => Ok(None),
        (None, [pool]) => Ok(Some(pool)),
        (None, _) => refuse(format!("Listener '{}' must name one of the pools", listener.id)),
    }
}

fn members(pool: &Pool, galera: bool, refused: &mut Vec<MemberError>) -> Vec<super::Member> {
    let mut seen = HashSet::with_capacity(pool.members.len());
    let mut writer = false;
    let mut members = Vec::with_capacity(pool.members.len());
    for given in &pool.members {
        let read = member::read(given).and_then(|member| {
            if !seen.insert(given.id.as_str()) {
                return refuse(format!("Node '{}' is already defined.", given.id));
            }
            if galera {
                member::second_writer(&mut writer, &member)?;
            }
            Ok(member)
        });
        match read {
            Ok(member) => members.push(member),
            Err(error) => refused.push(MemberError { id: given.id.clone(), error }),
        }
    }
    members
}

/// libra shows a limit of 0 as its default, and HAProxy would take it for no limit at all.
fn time(which: &str, given: Option<u32>) -> Result<u32, DriverError> {
    match given {
        None | Some(0) => Ok(DEFAULT_MS),
        Some(time) if time > MAX_MS => refuse(format!("The {which} timeout {time} exceeds max of {MAX_MS}")),
        Some(time) => Ok(time),
    }
}

fn sticky(mode: Mode, galera: bool, given: Option<&Persistence>) -> Result<Sticky, DriverError> {
    Ok(match (given, mode) {
        (None, Mode::Http) => Sticky::Cookie("SERVERID".to_owned()),
        (None, Mode::Tcp) if galera => Sticky::No,
        (None, Mode::Tcp) => Sticky::Source(None),
        (Some(Persistence::None), _) => Sticky::No,
        (Some(_), _) if galera => return refuse("Galera protocol does not accept persistence"),
        (Some(Persistence::HttpCookie { .. }), Mode::Tcp) => return refuse("A cookie needs the HTTP protocol"),
        (Some(Persistence::HttpCookie { cookie }), Mode::Http) => {
            if cookie.len() > 64 || token::check(Kind::Cookie, cookie).is_err() {
                return refuse(format!(
                    "The cookie name {:?} cannot be used; 1 to 64 letters, digits, '.', '_' and '-' were expected",
                    shortened(cookie)
                ));
            }
            Sticky::Cookie(cookie.clone())
        }
        (Some(Persistence::SourceIp { expire_s }), _) => {
            if *expire_s == 0 || *expire_s > MAX_MS / 1000 {
                return refuse(format!("A source address cannot be remembered for {expire_s} seconds"));
            }
            Sticky::Source(Some(*expire_s))
        }
        (Some(_), _) => return refuse("This kind of persistence is not known here"),
    })
}

fn monitor(given: &load_balancer::Monitor) -> Result<Monitor, DriverError> {
    let path = match given.kind.to_lowercase().as_str() {
        "connect" => None,
        "http" => Some(match given.path.as_deref() {
            None | Some("") => "/".to_owned(),
            Some(path) if path.starts_with('/') => path.to_owned(),
            Some(path) => format!("/{path}"),
        }),
        _ => return refuse(format!("Invalid monitor type: {}", shortened(&given.kind))),
    };
    if let Some(path) = &path
        && let Err(error) = token::check(Kind::HttpPath, path)
    {
        return refuse(format!("The monitor path cannot be used: {error}"));
    }
    for (name, value, most) in [
        ("delay", given.delay_s, MAX_MS / 1000),
        ("timeout", given.timeout_s, MAX_MS / 1000),
        ("attempts", given.rise, 1000),
        ("attempts", given.fall, 1000),
    ] {
        if value == 0 || value > most {
            return refuse(format!("Monitor '{name}' is {value}; 1 to {most} was expected"));
        }
    }
    if given.timeout_s > given.delay_s {
        return refuse("Timeout cannot be greater than delay");
    }
    Ok(Monitor { path, delay_s: given.delay_s, timeout_s: given.timeout_s, rise: given.rise, fall: given.fall })
}
