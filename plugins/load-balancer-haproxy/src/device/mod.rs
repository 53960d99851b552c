//! One device: the order of steps by which its HAProxy becomes what was asked for.

mod apply;
mod fault;
mod files;
mod lifecycle;
mod load;
mod observe;
mod record;
mod traffic;

use std::{
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::{CallContext, DriverError, LogLevel, load_balancer::Target};

pub use fault::Fault;
pub use files::{Paths, Staged};
pub use observe::names_for_log;

use crate::{
    config::StatsSocket,
    control::{Control, Process, Systemd},
    runtime::{self, Features, Info, Live, SocketError, Version, ask, look},
    settings::{ControlMode, Settings},
    spec::{Marker, Rendering, Wanted},
};
use files::Lock;
use record::Record;

/// How long a worker that has lost its master may go on answering. It ends as soon as it gets to run.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);

/// Where in a change the process may be killed; tests stop there. In the order in which they are passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The candidate is written and checked.
    Checked,
    /// The counters of the process that goes are kept.
    Counted,
    /// The new file is in place, the old process serves.
    Placed,
    /// The new process was asked for.
    Asked,
    /// The new process serves, the record is the old one.
    Confirmed,
    /// Runtime commands were run, the file is the old one.
    Commanded,
    /// File and record are written.
    Recorded,
}

/// A call about one device, alone with it until it ends.
pub struct Device<'a> {
    settings: &'a Settings,
    features: &'a Mutex<Option<(String, Features)>>,
    call: &'a CallContext,
    paths: &'a Paths,
    control: Control<'a>,
    _lock: Lock,
}

impl<'a> Device<'a> {
    /// Takes the device's lock; `make` makes its directories.
    pub fn open(
        settings: &'a Settings,
        features: &'a Mutex<Option<(String, Features)>>,
        call: &'a CallContext,
        paths: &'a Paths,
    ) -> Result<Self, Fault> {
        paths.prepare()?;
        let lock = Lock::take(paths, call.deadline())?;
        let control = match settings.control {
            ControlMode::Process => Control::Process(Process::new(call.host(), settings, paths)),
            ControlMode::Systemd => Control::Systemd(Systemd::new(settings)),
        };
        Ok(Self { settings, features, call, paths, control, _lock: lock })
    }

    /// The process that answers on the device's socket; none when nobody does.
    ///
    /// A worker whose master was killed may answer until it notices and ends, so it is no process to build on: it counts as
    /// gone once it is, and one that stays is not the daemon's.
    fn live(&self) -> Result<Option<Live>, Fault> {
        let patience = self.call.deadline().min(Instant::now() + ORPHAN_PATIENCE);
        loop {
            let answer = match look(&self.paths.socket, "show info;show stat -1 4 -1", self.call.deadline()) {
                Ok(answer) => answer,
                Err(error) if error.is_absent() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let info = Info::parse(&answer);
            if self.control.owns_what_answers()? {
                let marker = Marker::read(&info).filter(|marker| marker.device == self.paths.slug);
                return Ok(Some(Live { marker, version: info.version, servers: runtime::servers(&answer)? }));
            }
            if Instant::now() >= patience {
                return Err(Fault::NotOwned { path: self.paths.socket.clone(), pid: info.pid });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks until the process with this file answers; `false` at the deadline.
    fn answers_with(&self, load: u64, deadline: Instant) -> Result<bool, Fault> {
        loop {
            match ask(&self.paths.socket, "show info", deadline) {
                Ok(answer) => {
                    let marker = Marker::read(&Info::parse(&answer));
                    if marker.is_some_and(|marker| marker.device == self.paths.slug && marker.load == load) {
                        return Ok(true);
                    }
                }
                Err(SocketError::Absent { .. } | SocketError::Broken { .. }) => {}
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the running version can do; asked of it once, and again when another one answers.
    fn features(&self, version: &str) -> Result<Features, Fault> {
        let mut known = self.features.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((asked, features)) = known.as_ref()
            && asked == version
        {
            return Ok(*features);
        }
        let features = match Version::parse(version).and_then(Features::of) {
            Some(features) => features.confirmed_by(&look(&self.paths.socket, "help", self.call.deadline())?),
            None => {
                let text = format!("HAProxy {version} is not in this driver's table: every change will be a reload");
                self.call.log(LogLevel::Warn, &text);
                Features::default()
            }
        };
        *known = Some((version.to_owned(), features));
        Ok(features)
    }

    fn rendering(&self, wanted: &Wanted) -> Result<Rendering, Fault> {
        let root = rustix::process::geteuid().is_root();
        Ok(Rendering {
            log: self.settings.log_target()?,
            maxconn: self.maxconn(wanted),
            identity: root.then(|| (self.settings.user.clone(), self.settings.group.clone())),
            socket: StatsSocket {
                path: crate::settings::text(&self.paths.socket)?.to_owned(),
                user: self.settings.stats_user.clone(),
                group: self.settings.stats_group.clone(),
            },
            hard_stop_after_s: self.settings.hard_stop_after_seconds,
            spare_slots: self.settings.spare_slots,
        })
    }

    /// HAProxy refuses to start when its connections would need more files than the limit allows: two each, one for each
    /// listener and check. Servers are counted by the thousand, so that one more does not change the file's shape.
    fn maxconn(&self, wanted: &Wanted) -> u32 {
        let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum else {
            return self.settings.maxconn;
        };
        let servers: usize = wanted.services.iter().map(|service| service.members.len() + 1000).sum();
        let other = 200 + wanted.services.len() + servers.next_multiple_of(1000);
        let room = limit.saturating_sub(u64::try_from(other).unwrap_or(u64::MAX)) / 2;
        self.settings.maxconn.min(u32::try_from(room).unwrap_or(u32::MAX).max(64))
    }

    /// Refuses a call that is older than what was done.
    fn refuse_older(&self, record: Option<&Record>, live: Option<&Live>, asked: u64) -> Result<(), Fault> {
        let deleted = self.deleted_generation()?;
        let recorded = record.map_or(0, |record| record.request.generation);
        let running = live.and_then(|live| live.marker.as_ref()).map_or(0, |marker| marker.generation);
        let newest = deleted.max(recorded).max(running);
        if asked < newest {
            return Err(DriverError::conflict(format!(
                "generation {asked} is older than generation {newest}, which was applied; nothing was changed"
            ))
            .into());
        }
        Ok(())
    }

    /// Generation of the last `delete`; 0 when there was none.
    fn deleted_generation(&self) -> Result<u64, Fault> {
        Ok(self.call.host().state_get::<u64>(&self.deleted_key())?.map_or(0, |kept| kept.value))
    }

    fn deleted_key(&self) -> String {
        format!("deleted/{}", self.paths.slug)
    }

    fn accounts_key(&self) -> String {
        format!("accounts/{}", self.paths.slug)
    }

    /// A change may take most of what is left of the call; the rest is for putting the last good file back.
    fn change_deadline(&self) -> Instant {
        let left = self.call.time_left();
        let limit = Duration::from_secs(self.settings.reload_timeout_seconds.into());
        Instant::now() + limit.min(left * 7 / 10)
    }

    fn warn(&self, text: &str) {
        self.call.log(LogLevel::Warn, &format!("device {}: {text}", self.paths.slug));
    }

    /// Stops here when a test asked for it.
    fn reached(&self, step: Step) -> Result<(), Fault> {
        #[cfg(test)]
        crate::failpoint::reached(&self.paths.slug, step)?;
        let _ = step;
        Ok(())
    }
}

/// The call is about all load balancers of the device, or about the only one that it has.
fn is_whole(target: &Target, record: &Record) -> Result<bool, Fault> {
    let Some(id) = &target.load_balancer else { return Ok(true) };
    let load_balancers = &record.request.load_balancers;
    if !load_balancers.iter().any(|one| one.id == *id) {
        return Err(DriverError::not_found(format!("The device carries no load balancer '{id}'.")).into());
    }
    Ok(load_balancers.len() == 1)
}

#[cfg(test)]
mod crash_tests;
