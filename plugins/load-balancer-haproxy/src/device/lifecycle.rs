//! `suspend`, `enable` and `delete`.

use std::{fs, io::ErrorKind};

use capstan_plugin_api::{
    DriverError,
    load_balancer::{AdminState, Applied, ApplyRequest, LoadBalancer, LoadBalancerResult, Target},
};

use super::{Device, Fault, files, is_whole, record::Record};

impl Device<'_> {
    /// Stops serving; configuration and record stay.
    pub fn suspend(&self, target: &Target) -> Result<Applied, Fault> {
        let mut record = self.existing()?;
        let live = self.live()?;
        self.refuse_older(Some(&record), live.as_ref(), target.generation)?;
        if !is_whole(target, &record)? {
            let request = changed(&record, target, |one| one.admin_state = AdminState::Suspended);
            return self.converge(&request, Some(record), live);
        }
        let running = self.control.is_running(self.call.deadline())?;
        let method = if running || !record.suspended { "stop" } else { "unchanged" };
        self.stop()?;
        record.suspended = true;
        note(&mut record, target);
        record.write(self.paths)?;
        Ok(applied(&record, method))
    }

    /// Serves again.
    pub fn enable(&self, target: &Target) -> Result<Applied, Fault> {
        let record = self.existing()?;
        let live = self.live()?;
        self.refuse_older(Some(&record), live.as_ref(), target.generation)?;
        let request = changed(&record, target, |one| one.admin_state = AdminState::Up);
        self.converge(&request, Some(record), live)
    }

    /// Removes everything. The record goes last, so that a call that was cut off is repeated in full.
    pub fn delete(&self, target: &Target) -> Result<Applied, Fault> {
        let record = match Record::read(self.paths) {
            // What cannot be read can still be removed.
            Err(Fault::Record { .. }) => None,
            other => other?,
        };
        let live = self.live()?;
        self.refuse_older(record.as_ref(), live.as_ref(), target.generation)?;
        if let (Some(record), Some(id)) = (&record, &target.load_balancer) {
            if !record.request.load_balancers.iter().any(|one| one.id == *id) {
                return Ok(Applied { load_balancers: Vec::new(), method: "unchanged".into() });
            }
            if record.request.load_balancers.len() > 1 {
                let mut request = changed(record, target, |_| {});
                request.load_balancers.retain(|one| one.id != *id);
                return self.converge(&request, Some(record.clone()), live);
            }
        }
        let there = record.is_some() || live.is_some() || self.control.is_running(self.call.deadline())?;
        if target.generation > 0 {
            self.call.host().state_put(&self.deleted_key(), &target.generation, None)?;
        }
        self.stop()?;
        for path in [&self.paths.config, &self.paths.candidate, &self.paths.good, &self.paths.output] {
            files::remove(path)?;
        }
        for path in [&self.paths.socket, &self.paths.master_socket] {
            files::remove(path)?;
        }
        self.empty_log()?;
        self.call.host().state_delete(&self.accounts_key())?;
        files::remove(&self.paths.record)?;
        files::sync_directory(&self.paths.state)?;
        Ok(match record {
            Some(record) => applied(&record, "delete"),
            None => Applied { load_balancers: Vec::new(), method: if there { "delete" } else { "unchanged" }.into() },
        })
    }

    fn existing(&self) -> Result<Record, Fault> {
        Record::read(self.paths)?.ok_or_else(|| DriverError::not_found("The device carries no load balancer.").into())
    }

    fn stop(&self) -> Result<(), Fault> {
        let deadline = self.call.deadline();
        if !self.control.is_running(deadline)? {
            return Ok(());
        }
        self.keep_counters()?;
        self.control.stop(deadline)?;
        if self.control.is_running(deadline)? { Err(Fault::NotStopped) } else { Ok(()) }
    }

    /// Empties the log for syslog to go on with, unless another device of this machine logs to it as well.
    fn empty_log(&self) -> Result<(), Fault> {
        let place = &self.settings.state_directory;
        for entry in fs::read_dir(place).map_err(Fault::file("list", place))? {
            let entry = entry.map_err(Fault::file("list", place))?;
            if entry.file_name() != *self.paths.slug && entry.path().join("device.json").exists() {
                return Ok(());
            }
        }
        let log = &self.settings.log_file;
        match fs::OpenOptions::new().write(true).open(log).and_then(|file| file.set_len(0)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Fault::file("empty", log)(error)),
            _ => Ok(()),
        }
    }
}

/// The record's request with the target's load balancers changed, as of the target's call.
fn changed(record: &Record, target: &Target, change: impl Fn(&mut LoadBalancer)) -> ApplyRequest {
    let mut request = record.request.clone();
    let wanted = |one: &&mut LoadBalancer| target.load_balancer.as_ref().is_none_or(|id| one.id == *id);
    request.load_balancers.iter_mut().filter(wanted).for_each(change);
    request.generation = request.generation.max(target.generation);
    if !target.idempotency_key.is_empty() {
        request.idempotency_key.clone_from(&target.idempotency_key);
    }
    request
}

fn note(record: &mut Record, target: &Target) {
    record.request = changed(record, target, |_| {});
}

fn applied(record: &Record, method: &str) -> Applied {
    let result = |one: &LoadBalancer| LoadBalancerResult { id: one.id.clone(), ..Default::default() };
    Applied { load_balancers: record.request.load_balancers.iter().map(result).collect(), method: method.into() }
}
