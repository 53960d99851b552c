//! Loading a new file: by reload when HAProxy runs, by start when it does not.
//!
//! The order, and what a kill between two steps leaves: (1) candidate written and checked beside the file: the old one
//! serves. (2) The file that runs is kept as the good one. (3) The counters of the process that goes are kept. (4) The
//! candidate takes the file's name: the old process serves, a restart would bring the new one, which was checked.
//! (5) Reload: the master serves with the old worker until the new one does. (6) Confirmed by the marker. (7) Record. The
//! next call compares what answers with what is wanted, so it goes on from any of these.

use std::{
    collections::HashSet,
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::DriverError;

use super::{
    Device, Fault, Step,
    apply::Work,
    files::{self, Staged},
};
use crate::{
    config::{self, Directive},
    control::run,
    runtime::Live,
    spec::{Marker, Slots},
};

/// A reload that was asked for and not seen is asked for again after this time: systemd's signal gets lost while the master
/// executes itself anew.
const ASK_AGAIN: Duration = Duration::from_millis(1500);

impl Device<'_> {
    /// Puts the wanted file in place and confirms that it runs.
    pub(super) fn load(&self, work: &Work<'_>, mut slots: Slots) -> Result<&'static str, Fault> {
        slots.keep(&work.wanted);
        let old = files::read(&self.paths.config)?;
        let load = self.next_load(work, old.as_deref());
        let marker = Marker {
            device: self.paths.slug.clone(),
            load,
            generation: work.request.generation,
            shape: work.shape.clone(),
        };
        let text = work.rendering.configuration(&work.wanted, &slots, &marker).write()?;
        self.refuse_taken_ports(work, old.as_deref())?;
        files::write_new(&self.paths.candidate, text.as_bytes())?;
        if let Err(fault) = self.check_candidate() {
            files::remove(&self.paths.candidate)?;
            return Err(fault);
        }
        self.reached(Step::Checked)?;
        self.call.check()?;
        self.keep_good(work.live.as_ref(), old.as_deref())?;
        self.keep_counters()?;
        self.reached(Step::Counted)?;
        Staged::commit(&[Staged::existing(&self.paths.candidate, &self.paths.config)])?;
        self.reached(Step::Placed)?;
        match self.bring_up(work.live.as_ref(), load, self.change_deadline()) {
            Ok(()) => {}
            Err(fault @ Fault::Driver(_)) if self.stopped_by_test(&fault) => return Err(fault),
            Err(fault) => {
                self.restore(work.live.as_ref(), old.as_deref())?;
                return Err(fault);
            }
        }
        self.reached(Step::Confirmed)?;
        self.record(work, slots, load).write(self.paths)?;
        self.reached(Step::Recorded)?;
        Ok(if work.live.is_some() { "reload" } else { "start" })
    }

    fn next_load(&self, work: &Work<'_>, file: Option<&str>) -> u64 {
        let running = work.live.as_ref().and_then(|live| live.marker.as_ref()).map_or(0, |marker| marker.load);
        let recorded = work.record.as_ref().map_or(0, |record| record.load);
        let in_place = file.and_then(load_of).unwrap_or(0);
        running.max(recorded).max(in_place) + 1
    }

    /// HAProxy binds with SO_REUSEPORT, so two of the same user would share a port in silence; and when a bind fails in a
    /// reload, it pauses the old process for its retries. So ports that are new to this device are tried first.
    fn refuse_taken_ports(&self, work: &Work<'_>, file: Option<&str>) -> Result<(), Fault> {
        let mut ours = HashSet::new();
        if work.live.is_some() {
            let good = files::read(&self.paths.good)?;
            for text in [file, good.as_deref()].into_iter().flatten() {
                ours.extend(binds_of(text));
            }
        }
        for service in work.wanted.services.iter().filter(|service| !service.suspended) {
            if ours.contains(&service.bind) {
                continue;
            }
            if let Err(error) = bind(service.bind, self.change_deadline()) {
                let text = match error.kind() {
                    ErrorKind::AddrInUse => {
                        format!("Port {} is in use by another program.", service.bind.port())
                    }
                    ErrorKind::AddrNotAvailable => "The address to bind is not on this machine.".to_owned(),
                    // HAProxy may have rights that this process has not; it will say so itself.
                    _ => continue,
                };
                return Err(DriverError::conflict(text)
                    .for_operator(format!("{} cannot be bound: {error}", service.bind))
                    .into());
            }
        }
        Ok(())
    }

    fn check_candidate(&self) -> Result<(), Fault> {
        let candidate = crate::settings::text(&self.paths.candidate)?;
        let finished = run(&self.settings.haproxy_path, &["-c", "-f", candidate], self.change_deadline())?;
        if finished.status.success() { Ok(()) } else { Err(Fault::Invalid { said: finished.text }) }
    }

    /// The file is good when what runs was loaded from it. Otherwise (a call was cut off before its reload) the good one is
    /// the one that is kept already.
    fn keep_good(&self, live: Option<&Live>, file: Option<&str>) -> Result<(), Fault> {
        let Some(file) = file else { return Ok(()) };
        let runs = live.and_then(|live| live.marker.as_ref()).map(|marker| marker.load);
        if runs.is_none() || runs == load_of(file) {
            Staged::commit(&[Staged::write(&self.paths.good, file.as_bytes())?])?;
        }
        Ok(())
    }

    /// Starts or reloads, and waits until the process with this file answers.
    pub(super) fn bring_up(&self, live: Option<&Live>, load: u64, deadline: Instant) -> Result<(), Fault> {
        let mark = self.control.listen();
        let answers = match live {
            Some(live) => self.features(&live.version)?.reload_answers,
            None => false,
        };
        let reloading = live.is_some() && self.control.is_running(deadline)?;
        if reloading {
            self.control.reload(answers, deadline)?;
        } else {
            // A process that is there and answers nobody is of no use to anyone.
            if self.control.is_running(deadline)? {
                self.control.stop(deadline)?;
            }
            self.control.start(deadline)?;
        }
        self.reached(Step::Asked)?;
        let mut asked = Instant::now();
        loop {
            let pause = Instant::now() + Duration::from_millis(100);
            if self.answers_with(load, pause.min(deadline))? {
                return Ok(());
            }
            let said = self.control.said_since(mark);
            let failed = said.contains("Loading failure") || said.contains("Fatal errors found");
            if failed || !self.control.is_running(deadline)? {
                return Err(Fault::NotLoaded { said });
            }
            if Instant::now() >= deadline {
                return Err(Fault::NotLoaded {
                    said: format!("no answer with load={load} before the deadline. {said}"),
                });
            }
            if reloading && asked.elapsed() > ASK_AGAIN {
                self.control.reload(answers, deadline)?;
                asked = Instant::now();
            }
        }
    }

    /// Puts the last good file back. The old worker still serves when the new one failed to come up; when nobody answers,
    /// the good file is started.
    fn restore(&self, live: Option<&Live>, old: Option<&str>) -> Result<(), Fault> {
        let running = live.and_then(|live| live.marker.as_ref()).map(|marker| marker.load);
        let good = match files::read(&self.paths.good)? {
            Some(good) if old.is_some() => good,
            _ => {
                // There was nothing before.
                self.control.stop(self.call.deadline())?;
                return files::remove(&self.paths.config);
            }
        };
        Staged::commit(&[Staged::write(&self.paths.config, good.as_bytes())?])?;
        let Some(load) = running else {
            // It did not run before either.
            return self.control.stop(self.call.deadline());
        };
        let patience = Instant::now() + Duration::from_secs(1);
        if !self.answers_with(load, patience.min(self.call.deadline()))? {
            let load = load_of(&good).unwrap_or(load);
            if let Err(fault) = self.bring_up(live, load, self.call.deadline()) {
                self.warn(&format!("the last good configuration did not come up either: {fault}"));
            }
        }
        Ok(())
    }

    fn stopped_by_test(&self, _fault: &Fault) -> bool {
        #[cfg(test)]
        return crate::failpoint::is_stop(_fault);
        #[cfg(not(test))]
        false
    }
}

/// Tries to bind. A process that was killed just now may hold its ports for a moment longer.
fn bind(address: SocketAddr, deadline: Instant) -> std::io::Result<()> {
    let patience = deadline.min(Instant::now() + Duration::from_millis(500));
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < patience => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other.map(drop),
        }
    }
}

/// Number of the file in its marker.
fn load_of(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("    description capstan "))?;
    line.split(' ').find_map(|word| word.strip_prefix("load="))?.parse().ok()
}

/// What a file of ours binds. A disabled frontend binds nothing.
fn binds_of(text: &str) -> Vec<SocketAddr> {
    let Ok(configuration) = config::parse(text) else { return Vec::new() };
    let serving = configuration.sections.iter().filter(|section| !section.directives.contains(&Directive::Disabled));
    serving
        .flat_map(|section| &section.directives)
        .filter_map(|directive| match directive {
            Directive::Bind(address) => Some(*address),
            _ => None,
        })
        .collect()
}
