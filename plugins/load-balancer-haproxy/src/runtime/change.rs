//! What differs between the servers that run and those that are wanted, said in runtime commands where that is possible.

use std::collections::{HashMap, HashSet};

use capstan_plugin_api::load_balancer::MemberState;

use super::{Features, LiveServer, socket::LONGEST_LINE};
use crate::{
    config::{
        Host, TokenError,
        token::{self, Kind},
    },
    spec::{Marker, Member, Service, Slots, Wanted},
};

/// More changes than this are made by a reload: it costs less than they do.
const MOST_COMMANDS: usize = 256;

/// The running process.
#[derive(Clone, Debug)]
pub struct Live {
    /// What it was loaded from; none when it is not one of ours.
    pub marker: Option<Marker>,
    /// Its version.
    pub version: String,
    /// Its servers.
    pub servers: Vec<LiveServer>,
}

/// How the difference is made good.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// There is none.
    Nothing,
    /// Only a reload can: the reason.
    Reload(String),
    /// By these lines over the socket.
    Runtime(Vec<String>),
}

/// A difference, and which slots hold which members once it is made good.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to do.
    pub change: Change,
    /// The slots afterwards.
    pub slots: Slots,
}

/// Compares. `names_kept` are the members with host names that HAProxy has resolved already, as `backend/member`: at run
/// time only addresses can be compared.
pub fn plan(
    wanted: &Wanted,
    slots: &Slots,
    live: &[LiveServer],
    features: Features,
    names_kept: &HashSet<String>,
) -> Result<Plan, TokenError> {
    let mut slots = slots.clone();
    slots.keep(wanted);
    let mut backends: HashMap<&str, HashMap<&str, &LiveServer>> = HashMap::new();
    for server in live {
        backends.entry(&server.backend).or_default().insert(&server.name, server);
    }
    let mut work = Work { features, names_kept, commands: Vec::new(), sweeps: Vec::new(), reload: None };
    for service in &wanted.services {
        let servers = backends.remove(service.names.backend.as_str()).unwrap_or_default();
        work.service(service, &servers, &mut slots)?;
    }
    let Work { mut commands, sweeps, reload, .. } = work;
    let change = if let Some(reason) = reload {
        Change::Reload(reason)
    } else if commands.is_empty() {
        Change::Nothing
    } else if commands.len() > MOST_COMMANDS {
        Change::Reload(format!("{} runtime commands are more than a reload costs", commands.len()))
    } else {
        commands.extend(sweeps);
        Change::Runtime(lines(&commands))
    };
    Ok(Plan { change, slots })
}

struct Work<'a> {
    features: Features,
    names_kept: &'a HashSet<String>,
    commands: Vec<String>,
    /// Removals of servers that are out of use already. One may fail while connections hang on it; the next change tries again.
    sweeps: Vec<String>,
    reload: Option<String>,
}

impl Work<'_> {
    fn service(
        &mut self,
        service: &Service,
        servers: &HashMap<&str, &LiveServer>,
        slots: &mut Slots,
    ) -> Result<(), TokenError> {
        let backend = service.names.backend.as_str();
        let mut used: HashSet<&str> = HashSet::with_capacity(service.members.len());
        let mut missing = Vec::new();
        for member in &service.members {
            match find(service, member, servers, slots) {
                Some(server) => {
                    used.insert(&server.name);
                    self.align(service, member, server, slots)?;
                }
                None => missing.push(member),
            }
        }
        for member in missing {
            if matches!(member.host, Host::Name(_)) {
                self.needs_reload(backend, member, "has a host name, which HAProxy resolves only as it starts");
            } else if !service.has_slots() {
                if !self.features.add_server {
                    self.needs_reload(backend, member, "is new, and this HAProxy adds no servers at run time");
                    continue;
                }
                self.add(service, member, slots)?;
            } else if let Some(number) =
                (!member.backup).then(|| free_slot(member, servers, &used, slots, backend)).flatten()
            {
                let name = Slots::name(number);
                slots.put(backend, &member.id, number);
                if let Some(server) = servers.get(name.as_str()) {
                    used.insert(&server.name);
                    self.align(service, member, server, slots)?;
                }
            } else if self.features.add_server_cookie {
                self.add(service, member, slots)?;
            } else {
                self.needs_reload(backend, member, "is new, and no slot of its backend is free for it");
            }
        }
        let mut extra: Vec<&&LiveServer> =
            servers.values().filter(|server| !used.contains(server.name.as_str())).collect();
        extra.sort_by(|a, b| a.name.cmp(&b.name));
        for server in extra {
            if !server.is_in_maintenance() && !self.features.set_server {
                let name = &server.name;
                self.reload.get_or_insert_with(|| format!("server {name} of {backend} is wanted no more"));
            } else if !server.is_in_maintenance() {
                self.set(backend, &server.name, "state maint")?;
            }
            if self.features.add_server && Slots::number(&server.name).is_none() {
                token::check(Kind::Name, &server.name)?;
                self.sweeps.push(format!("del server {backend}/{}", server.name));
            }
        }
        Ok(())
    }

    /// Makes a server that is there what its member says.
    fn align(
        &mut self,
        service: &Service,
        member: &Member,
        server: &LiveServer,
        slots: &mut Slots,
    ) -> Result<(), TokenError> {
        let backend = service.names.backend.as_str();
        if !self.features.set_server {
            if self.differs(service, member, server) {
                self.needs_reload(
                    backend,
                    member,
                    "changed, and this HAProxy is not known to change servers at run time",
                );
            }
            return Ok(());
        }
        if server.backup != member.backup {
            self.needs_reload(backend, member, "changed between backup and not");
            return Ok(());
        }
        if service.has_slots() {
            match Slots::number(&server.cookie) {
                Some(number) => slots.put(backend, &member.id, number),
                None if server.cookie == member.server_name() => slots.remove(backend, &member.id),
                None => self.needs_reload(backend, member, "runs with a cookie that is not its own"),
            }
        }
        match &member.host {
            Host::Ip(ip) if server.address == Some((*ip, member.port)) => {}
            Host::Ip(ip) => self.set(backend, &server.name, &format!("addr {ip} port {}", member.port))?,
            Host::Name(_) if self.names_kept.contains(&format!("{backend}/{}", member.id)) => {}
            Host::Name(_) => {
                self.needs_reload(backend, member, "has a new host name, which HAProxy resolves only as it starts")
            }
        }
        if server.weight != member.effective_weight() {
            self.set(backend, &server.name, &format!("weight {}", member.effective_weight()))?;
        }
        match (member.state == MemberState::Disabled, server.is_in_maintenance()) {
            (true, false) => self.set(backend, &server.name, "state maint")?,
            (false, true) => self.ready(backend, &server.name)?,
            _ => {}
        }
        Ok(())
    }

    fn differs(&self, service: &Service, member: &Member, server: &LiveServer) -> bool {
        let kept = format!("{}/{}", service.names.backend, member.id);
        let address_differs = match member.host {
            Host::Ip(ip) => server.address != Some((ip, member.port)),
            Host::Name(_) => !self.names_kept.contains(&kept),
        };
        address_differs
            || server.backup != member.backup
            || server.weight != member.effective_weight()
            || server.is_in_maintenance() != (member.state == MemberState::Disabled)
    }

    fn add(&mut self, service: &Service, member: &Member, slots: &Slots) -> Result<(), TokenError> {
        let backend = service.names.backend.as_str();
        let mut server = service.server(member, slots);
        // A server that is added starts in maintenance, whatever its line says.
        server.disabled = false;
        self.commands.push(server.add_command(backend)?);
        if member.state != MemberState::Disabled {
            self.ready(backend, &server.name)?;
        }
        Ok(())
    }

    /// Checks of a server that was added at run time are off until they are asked for; for others that changes nothing.
    fn ready(&mut self, backend: &str, server: &str) -> Result<(), TokenError> {
        self.set(backend, server, "state ready")?;
        if self.features.add_server {
            self.commands.push(format!("enable health {backend}/{server}"));
        }
        Ok(())
    }

    fn set(&mut self, backend: &str, server: &str, what: &str) -> Result<(), TokenError> {
        token::check(Kind::Name, backend)?;
        token::check(Kind::Name, server)?;
        self.commands.push(format!("set server {backend}/{server} {what}"));
        Ok(())
    }

    fn needs_reload(&mut self, backend: &str, member: &Member, why: &str) {
        self.reload.get_or_insert_with(|| format!("member {} of {backend} {why}", member.id));
    }
}

/// The running server of a member: by the member's name, by its slot, or (after a crash between a runtime change and the
/// file) a slot that serves the member's address and belongs to nobody.
fn find<'a>(
    service: &Service,
    member: &Member,
    servers: &HashMap<&str, &'a LiveServer>,
    slots: &mut Slots,
) -> Option<&'a LiveServer> {
    if let Some(server) = servers.get(member.server_name().as_str()) {
        return Some(server);
    }
    if !service.has_slots() {
        return None;
    }
    let backend = service.names.backend.as_str();
    if let Some(number) = slots.get(backend, &member.id) {
        if let Some(server) = servers.get(Slots::name(number).as_str()) {
            return Some(server);
        }
        slots.remove(backend, &member.id);
    }
    let Host::Ip(ip) = member.host else { return None };
    let server = servers.values().find(|server| {
        !server.is_in_maintenance()
            && server.address == Some((ip, member.port))
            && Slots::number(&server.name).is_some_and(|number| slots.member(backend, number).is_none())
    })?;
    slots.put(backend, &member.id, Slots::number(&server.name)?);
    Some(server)
}

/// A slot that is out of use; one that has the member's address already comes first.
fn free_slot(
    member: &Member,
    servers: &HashMap<&str, &LiveServer>,
    used: &HashSet<&str>,
    slots: &Slots,
    backend: &str,
) -> Option<u32> {
    let Host::Ip(ip) = member.host else { return None };
    servers
        .values()
        .filter(|server| {
            server.is_in_maintenance() && !used.contains(server.name.as_str()) && server.cookie == server.name
        })
        .filter_map(|server| Some((server.address != Some((ip, member.port)), Slots::number(&server.name)?)))
        .filter(|(_, number)| slots.member(backend, *number).is_none())
        .min()
        .map(|(_, number)| number)
}

fn lines(commands: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for command in commands {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + command.len() <= LONGEST_LINE => {
                line.push(';');
                line.push_str(command);
            }
            _ => lines.push(command.clone()),
        }
    }
    lines
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
