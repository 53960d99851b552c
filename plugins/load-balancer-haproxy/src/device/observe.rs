//! `observe` and `status`: what is really there.

use std::collections::{HashMap, HashSet};

use capstan_plugin_api::{
    DriverError,
    load_balancer::{AdminState, LoadBalancerState, MemberStatus, Observed, ObservedLoadBalancer, Status, Target},
};

use super::{Device, Fault, Paths, files, record::Record};
use crate::{
    config::Mode,
    runtime::{self, Change, Live, LiveServer},
    settings::Settings,
    spec::{self, Names, Service, Slots, Wanted},
};

impl Device<'_> {
    /// Health of the members.
    pub fn status(&self, target: &Target) -> Result<Status, Fault> {
        let record = self.serving()?;
        let live = self.live()?.ok_or_else(|| DriverError::unavailable("HAProxy is not running."))?;
        let wanted = spec::check(&record.request, self.settings).wanted;
        let services = wanted
            .services
            .iter()
            .filter(|service| target.load_balancer.as_ref().is_none_or(|id| *id == service.load_balancer));
        let members = services.flat_map(|service| members(service, &record.slots, &live.servers)).collect();
        Ok(Status { members })
    }

    /// Generation, load balancers and drift. A device that was deleted has only the generation of its end, from which whoever
    /// keeps nothing goes on; one that was never applied has nothing.
    pub fn observe(&self, target: &Target) -> Result<Observed, Fault> {
        let live = self.live()?;
        let Some(record) = Record::read(self.paths)? else {
            let drift = live.map(|_| "HAProxy runs although nothing was applied".to_owned()).into_iter().collect();
            return Ok(Observed { generation: self.deleted_generation()?, drift, ..Default::default() });
        };
        let wanted = spec::check(&record.request, self.settings).wanted;
        let drift = self.drift(&record, &wanted, live.as_ref())?;
        let servers = live.as_ref().map(|live| live.servers.as_slice()).unwrap_or_default();
        let load_balancers = record
            .request
            .load_balancers
            .iter()
            .filter(|one| target.load_balancer.as_ref().is_none_or(|id| *id == one.id))
            .map(|one| ObservedLoadBalancer {
                id: one.id.clone(),
                state: match (record.suspended || one.admin_state == AdminState::Suspended, &live) {
                    (true, _) => LoadBalancerState::Suspended,
                    (false, Some(_)) => LoadBalancerState::Running,
                    (false, None) => LoadBalancerState::Failed,
                },
                members: wanted
                    .services
                    .iter()
                    .filter(|service| service.load_balancer == one.id)
                    .flat_map(|service| members(service, &record.slots, servers))
                    .collect(),
            })
            .collect();
        Ok(Observed { generation: record.request.generation, load_balancers, drift })
    }

    fn drift(&self, record: &Record, wanted: &Wanted, live: Option<&Live>) -> Result<Vec<String>, Fault> {
        let Some(live) = live else {
            let silent = "HAProxy should run and does not answer".to_owned();
            return Ok(if record.suspended { Vec::new() } else { vec![silent] });
        };
        let mut drift = Vec::new();
        if record.suspended {
            drift.push("HAProxy runs although the device is suspended".to_owned());
        }
        let shape = spec::shape(&self.rendering(wanted)?, wanted)?;
        match &live.marker {
            None => drift.push("what runs was not written by this driver".to_owned()),
            Some(marker) if marker.shape != shape => {
                drift.push(format!("file {} runs, which is not what was applied last", marker.load));
            }
            Some(_) => {
                let kept: HashSet<String> = wanted
                    .services
                    .iter()
                    .flat_map(|service| {
                        service.members.iter().map(|member| format!("{}/{}", service.names.backend, member.id))
                    })
                    .collect();
                let features = self.features(&live.version)?;
                let plan = runtime::plan(wanted, &record.slots, &live.servers, features, &kept)?;
                match plan.change {
                    Change::Nothing => {}
                    Change::Reload(reason) => drift.push(reason),
                    Change::Runtime(lines) => drift.extend(
                        lines.iter().flat_map(|line| line.split(';')).map(|command| format!("missing: {command}")),
                    ),
                }
            }
        }
        if files::read(&self.paths.config)?.is_none() {
            drift.push(format!("{} is gone", self.paths.config.display()));
        }
        Ok(drift)
    }
}

/// Names of the proxies whose log lines belong to a protocol: those of the load balancer when the device carries it,
/// otherwise those that libra gave the protocol. Galera runs as tcp, and so it is named (BUG-17).
pub fn names_for_log(
    settings: &Settings,
    paths: &Paths,
    protocol: &str,
    load_balancer: &str,
) -> Result<Vec<String>, Fault> {
    let protocol = protocol.to_lowercase();
    let (mode, galera) = match protocol.as_str() {
        "http" => (Mode::Http, false),
        "tcp" => (Mode::Tcp, false),
        "galera" => (Mode::Tcp, true),
        other => {
            let other: String = other.chars().take(80).collect();
            return Err(DriverError::invalid_argument(format!("Unsupported protocol: {other}")).into());
        }
    };
    let wanted = Record::read(paths)?.map(|record| spec::check(&record.request, settings).wanted).unwrap_or_default();
    let mut names: Vec<String> = wanted
        .services
        .into_iter()
        .filter(|one| one.load_balancer == load_balancer && one.mode == mode && one.galera == galera)
        .flat_map(|service| [service.names.frontend, service.names.backend])
        .collect();
    if names.is_empty() {
        let libra = Names::of(mode, mode.word(), &protocol);
        names.extend([libra.frontend, libra.backend]);
    }
    Ok(names)
}

/// The members of a service with the state of the servers that stand for them, whatever those are called.
fn members(service: &Service, slots: &Slots, servers: &[LiveServer]) -> Vec<MemberStatus> {
    let backend = service.names.backend.as_str();
    let servers: HashMap<&str, &LiveServer> = servers
        .iter()
        .filter(|server| server.backend == backend)
        .map(|server| (server.name.as_str(), server))
        .collect();
    let status = |member: &spec::Member| {
        let by_slot = || servers.get(Slots::name(slots.get(backend, &member.id)?).as_str());
        let server = servers.get(member.server_name().as_str()).or_else(by_slot);
        MemberStatus {
            load_balancer: service.load_balancer.clone(),
            id: member.id.clone(),
            // libra's reading: anything else, transitions such as `UP 1/2` included, is not up.
            up: server.is_some_and(|server| server.status == "UP"),
            detail: server.map(|server| server.status.clone()).unwrap_or_default(),
        }
    };
    service.members.iter().map(status).collect()
}
