//! Floating addresses: each is a file, and while it is on a node a forwarder that the daemon started.

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    CallContext, DriverError, ErrorCode, ProgramSpec,
    cloud::{AllocateIp, AssignIp, FloatingIp, List, Page},
};

use super::{Cloud, PAUSE, failed, lists::page};
use crate::{
    durable,
    node_process::{Forward, Forwarded},
    record::Wanted,
};

/// The one pool.
const POOL: &str = "local";
/// A forwarder has nothing to put in order.
const GRACE_MS: u64 = 500;
/// How long a forwarder may take until it carries the address.
const BEGIN: Duration = Duration::from_secs(10);

fn program_name(address: Ipv4Addr) -> String {
    format!("ip-{address}")
}

fn view(forward: Forward) -> FloatingIp {
    FloatingIp {
        id: forward.address.to_string(),
        address: forward.address.into(),
        node: forward.node,
        pool: Some(POOL.to_owned()),
    }
}

impl Cloud {
    pub(super) fn floating(&self) -> PathBuf {
        self.options.directory.join("floating")
    }

    fn file(&self, address: Ipv4Addr) -> PathBuf {
        // No suffix of a number is taken for that of a file.
        self.floating().join(format!("{address}.json"))
    }

    pub(super) fn forwards(&self) -> Result<Vec<Forward>, DriverError> {
        let path = self.floating();
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("cannot read its floating addresses", &path, &error)),
        };
        let mut forwards = Vec::new();
        for path in
            entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"))
        {
            let forward: Option<Forward> =
                durable::read(&path).map_err(|error| failed("cannot read a floating address", &path, &error))?;
            forwards.extend(forward);
        }
        forwards.sort_by_key(|forward| forward.address.to_string());
        Ok(forwards)
    }

    fn forward(&self, address: IpAddr) -> Result<Forward, DriverError> {
        let unknown = || DriverError::not_found(format!("there is no floating address {address}"));
        let IpAddr::V4(address) = address else { return Err(unknown()) };
        let path = self.file(address);
        durable::read(&path)
            .map_err(|error| failed("cannot read a floating address", &path, &error))?
            .ok_or_else(unknown)
    }

    fn keep(&self, forward: &Forward) -> Result<(), DriverError> {
        let path = self.file(forward.address);
        durable::replace(&path, forward).map_err(|error| failed("cannot keep the floating address", &path, &error))
    }

    pub fn list_ips(&self, request: &List) -> Result<Page<FloatingIp>, DriverError> {
        let all = if request.tags.is_empty() { self.forwards()? } else { Vec::new() };
        page(request, all.into_iter().map(view).collect(), |ip| &ip.id, |_| None)
    }

    pub fn allocate_ip(&self, call: &CallContext, request: &AllocateIp) -> Result<FloatingIp, DriverError> {
        if request.pool.as_deref().is_some_and(|pool| pool != POOL) {
            return Err(DriverError::invalid_argument(format!(
                "this cloud has one pool of floating addresses, {POOL:?}"
            )));
        }
        let _cloud = self.lock(call)?;
        let forwards = self.forwards()?;
        let quota = || {
            DriverError::new(
                ErrorCode::QUOTA_EXCEEDED,
                format!("{} floating addresses are taken, which is the most", forwards.len()),
            )
        };
        if forwards.len() >= self.options.max_floating as usize {
            return Err(quota());
        }
        let taken: HashSet<Ipv4Addr> = forwards.iter().map(|forward| forward.address).collect();
        let hint = self.options.directory.join("last-floating");
        let last = durable::read(&hint).ok().flatten();
        let address = self.options.floating.next(last, &taken).ok_or_else(quota)?;
        let _a_hint = durable::replace_volatile(&hint, &address);
        let forward = Forward { address, ports: self.options.floating_ports.clone(), node: None, target: None, run: 0 };
        self.keep(&forward)?;
        Ok(view(forward))
    }

    pub fn release_ip(&self, call: &CallContext, address: IpAddr) -> Result<(), DriverError> {
        let _cloud = self.lock(call)?;
        let forward = self.forward(address)?;
        if forward.node.is_some() {
            return Err(DriverError::conflict(format!("{address} is on a node; remove it there first")));
        }
        call.host().program_stop(&program_name(forward.address), GRACE_MS)?;
        let path = self.file(forward.address);
        let _may_never_have_been = fs::remove_file(Forwarded::path(&path));
        fs::remove_file(&path)
            .and_then(|()| durable::sync_folder(&self.floating()))
            .map_err(|error| failed("cannot give the address back", &path, &error))
    }

    /// Assigning it again to the same node is a success, and starts what does not run.
    pub fn assign_ip(&self, call: &CallContext, request: &AssignIp) -> Result<(), DriverError> {
        let _cloud = self.lock(call)?;
        let mut forward = self.forward(request.address)?;
        let record = self.find(&request.node)?.record().ok().flatten().filter(|record| record.wanted != Wanted::Gone);
        let record = record.ok_or_else(|| super::no_node(&request.node))?;
        if forward.node.as_ref().is_some_and(|node| *node != record.id) {
            return Err(DriverError::conflict(format!(
                "{} is on another node; remove it there first",
                request.address
            )));
        }
        forward.node = Some(record.id);
        forward.target = Some(record.address);
        // The ports are those of the configuration as it is now.
        forward.ports.clone_from(&self.options.floating_ports);
        self.carry(call, forward)
    }

    pub fn remove_ip(&self, call: &CallContext, request: &AssignIp) -> Result<(), DriverError> {
        let _cloud = self.lock(call)?;
        let forward = self.forward(request.address)?;
        if forward.node.as_ref() != Some(&request.node) {
            return Err(DriverError::conflict(format!("{} is not on this node", request.address)));
        }
        self.take_off(call, forward)
    }

    /// Of a node that goes; under the cloud's lock.
    pub(super) fn let_go_of_addresses(&self, call: &CallContext, node: &str) -> Result<(), DriverError> {
        let on_it = self.forwards()?.into_iter().filter(|forward| forward.node.as_deref() == Some(node));
        on_it.into_iter().try_for_each(|forward| self.take_off(call, forward))
    }

    /// Of a node that was started: after the machine was, its forwarders are gone as it was.
    pub(super) fn carry_addresses(&self, call: &CallContext, node: &str) -> Result<(), DriverError> {
        let _cloud = self.lock(call)?;
        let on_it = self.forwards()?.into_iter().filter(|forward| forward.node.as_deref() == Some(node));
        on_it.into_iter().try_for_each(|forward| self.carry(call, forward))
    }

    fn take_off(&self, call: &CallContext, forward: Forward) -> Result<(), DriverError> {
        call.host().program_stop(&program_name(forward.address), GRACE_MS)?;
        self.keep(&Forward { node: None, target: None, ..forward })
    }

    /// Written down, then carried out; what cannot be carried out is taken back.
    fn carry(&self, call: &CallContext, mut forward: Forward) -> Result<(), DriverError> {
        let name = program_name(forward.address);
        let path = self.file(forward.address);
        if call.host().program_find(&name)?.is_some() {
            let before: Option<Forward> = durable::read(&path).ok().flatten();
            if before.as_ref() == Some(&forward) {
                return Ok(());
            }
            call.host().program_stop(&name, GRACE_MS)?;
        }
        forward.run += 1;
        self.keep(&forward)?;
        let begun = self.begin(call, &name, &path, forward.run);
        if begun.is_err() {
            self.take_off(call, forward)?;
        }
        begun
    }

    fn begin(&self, call: &CallContext, name: &str, path: &Path, run: u64) -> Result<(), DriverError> {
        let words = [self.node_program()?.as_path(), Path::new("forward"), path].map(|word| word.display().to_string());
        call.host().program_start(&ProgramSpec {
            name: name.to_owned(),
            command: words.into(),
            ..ProgramSpec::default()
        })?;
        let until = (Instant::now() + BEGIN).min(call.deadline());
        loop {
            let said: Option<Forwarded> = durable::read(&Forwarded::path(path)).ok().flatten();
            match said.filter(|said| said.run == run) {
                Some(Forwarded { fault: None, .. }) => return Ok(()),
                Some(Forwarded { fault: Some(fault), .. }) => {
                    return Err(DriverError::unavailable("the floating address cannot be carried to the node")
                        .for_operator(fault));
                }
                None if Instant::now() > until => {
                    return Err(DriverError::unavailable("the forwarder of the floating address does not begin"));
                }
                None => thread::sleep(PAUSE),
            }
        }
    }
}
