//! `apply`: compare, then the cheapest way that gets there.

use std::collections::HashSet;

use capstan_plugin_api::{
    DriverError, LogLevel,
    load_balancer::{Applied, ApplyRequest},
};

use super::{
    Device, Fault, Step,
    files::{self, Staged},
    record::Record,
};
use crate::{
    config::Host,
    runtime::{self, Change, Live, ask},
    settings::ControlMode,
    spec::{self, Checked, Marker, Rendering, Slots, Wanted},
};

/// A specification on its way.
pub(super) struct Work<'a> {
    pub request: &'a ApplyRequest,
    pub wanted: Wanted,
    pub rendering: Rendering,
    pub shape: String,
    pub record: Option<Record>,
    pub live: Option<Live>,
}

impl Device<'_> {
    /// See [`capstan_plugin_api::DeclarativeLoadBalancer::apply`].
    pub fn apply(&self, request: &ApplyRequest) -> Result<Applied, Fault> {
        let record = Record::read(self.paths)?;
        let live = self.live()?;
        self.refuse_older(record.as_ref(), live.as_ref(), request.generation)?;
        self.refuse_second_device()?;
        self.converge(request, record, live)
    }

    /// Makes the device what `request` says.
    pub(super) fn converge(
        &self,
        request: &ApplyRequest,
        record: Option<Record>,
        live: Option<Live>,
    ) -> Result<Applied, Fault> {
        let checked = spec::check(request, self.settings);
        let refused = checked.is_refused(request.skip_refused_members);
        let Checked { wanted, results } = checked;
        if refused {
            return Ok(Applied { load_balancers: results, method: "refused".into() });
        }
        let rendering = self.rendering(&wanted)?;
        if rendering.maxconn < self.settings.maxconn {
            let text = format!("maxconn is {}: the limit on open files allows no more", rendering.maxconn);
            self.call.log(LogLevel::Debug, &text);
        }
        let shape = spec::shape(&rendering, &wanted)?;
        self.call.check()?;
        let work = Work { request, wanted, rendering, shape, record, live };
        let method = self.change(work)?;
        Ok(Applied { load_balancers: results, method: method.into() })
    }

    fn change(&self, mut work: Work<'_>) -> Result<&'static str, Fault> {
        let slots = work.record.as_ref().map(|record| record.slots.clone()).unwrap_or_default();
        let Some(live) = &work.live else { return self.load(&work, slots) };
        let Some(marker) = live.marker.clone().filter(|marker| marker.shape == work.shape) else {
            return self.load(&work, slots);
        };
        let names_kept = work.record.as_ref().map(|record| names_kept(record, &work.wanted, self)).unwrap_or_default();
        let features = self.features(&live.version)?;
        let plan = runtime::plan(&work.wanted, &slots, &live.servers, features, &names_kept)?;
        match plan.change {
            Change::Nothing => self.unchanged(&work, plan.slots, marker),
            Change::Runtime(lines) => match self.command(&work, &plan.slots, &lines, &names_kept)? {
                Ok(slots) => {
                    self.reached(Step::Commanded)?;
                    self.persist(&work, slots, marker)?;
                    Ok("runtime")
                }
                Err(said) => {
                    self.warn(&format!(
                        "the runtime API did not do what it was told, loading the file instead: {said}"
                    ));
                    work.live = self.live()?;
                    self.load(&work, plan.slots)
                }
            },
            Change::Reload(reason) => {
                self.call.log(LogLevel::Info, &format!("device {}: reload, since {reason}", self.paths.slug));
                self.load(&work, plan.slots)
            }
        }
    }

    /// Runs the lines and looks whether they made the difference good; `Err` carries HAProxy's words.
    fn command(
        &self,
        work: &Work<'_>,
        slots: &Slots,
        lines: &[String],
        names_kept: &HashSet<String>,
    ) -> Result<Result<Slots, String>, Fault> {
        let mut said = String::new();
        for (index, line) in lines.iter().enumerate() {
            let last = index + 1 == lines.len();
            let question = if last { format!("{line};show stat -1 4 -1") } else { line.clone() };
            let answer = match ask(&self.paths.socket, &question, self.call.deadline()) {
                Ok(answer) => answer,
                // Some of it may have been done; a file that is loaded anew says all of it.
                Err(error) => return Ok(Err(error.to_string())),
            };
            if !last {
                said.push_str(&answer);
                continue;
            }
            said.push_str(answer.split("# pxname").next().unwrap_or_default());
            let Ok(servers) = runtime::servers(&answer) else { break };
            let Some(live) = &work.live else { break };
            let after = runtime::plan(&work.wanted, slots, &servers, self.features(&live.version)?, names_kept)?;
            if after.change == Change::Nothing {
                return Ok(Ok(after.slots));
            }
        }
        Ok(Err(said.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")))
    }

    /// What runs is right; the file and the record may still be those of a call that was cut off, or of an older generation.
    fn unchanged(&self, work: &Work<'_>, slots: Slots, marker: Marker) -> Result<&'static str, Fault> {
        let text = work.rendering.configuration(&work.wanted, &slots, &marker).write()?;
        let same_file =
            files::read(&self.paths.config)?.is_some_and(|now| without_marker(&now) == without_marker(&text));
        let record = work.record.as_ref();
        let same_record = record.is_some_and(|record| {
            record.asks_for(work.request)
                && record.request.generation == work.request.generation
                && record.request.idempotency_key == work.request.idempotency_key
                && record.slots == slots
                && record.load >= marker.load
                && !record.suspended
        });
        if !same_file || !same_record {
            self.persist(work, slots, marker)?;
        }
        Ok("unchanged")
    }

    /// Writes the file and then the record, so that a restart comes up the same.
    fn persist(&self, work: &Work<'_>, slots: Slots, running: Marker) -> Result<(), Fault> {
        let marker = Marker { generation: work.request.generation, ..running };
        let text = work.rendering.configuration(&work.wanted, &slots, &marker).write()?;
        let record = self.record(work, slots, marker.load);
        // Side by side: one commit of the file system's journal then serves both (measured: 1.08 ms instead of 1.17 ms for
        // a change of one weight).
        let (config, record) = std::thread::scope(|scope| {
            let config = scope.spawn(|| Staged::write(&self.paths.config, text.as_bytes()));
            let record = record.stage(self.paths);
            (config.join(), record)
        });
        let config = config.map_err(|_| DriverError::internal("writing the configuration panicked"))?;
        Staged::commit(&[config?, record?])?;
        self.reached(Step::Recorded)
    }

    pub(super) fn record(&self, work: &Work<'_>, slots: Slots, load: u64) -> Record {
        let mut request = work.request.clone();
        for load_balancer in &mut request.load_balancers {
            // Free text for people has no place on the node.
            load_balancer.name.clear();
        }
        Record { request, slots, load, suspended: false }
    }

    /// systemd's one service has one configuration.
    fn refuse_second_device(&self) -> Result<(), Fault> {
        if self.settings.control != ControlMode::Systemd {
            return Ok(());
        }
        let place = &self.settings.state_directory;
        for entry in std::fs::read_dir(place).map_err(Fault::file("list", place))? {
            let entry = entry.map_err(Fault::file("list", place))?;
            if entry.file_name() != *self.paths.slug && entry.path().join("device.json").exists() {
                return Err(DriverError::conflict("This machine's HAProxy service carries another device already.")
                    .for_operator(format!(
                        "control = \"systemd\" serves one device; {} belongs to another",
                        entry.path().display()
                    ))
                    .into());
            }
        }
        Ok(())
    }
}

/// Members whose host names HAProxy resolved when it loaded what the record says.
fn names_kept(record: &Record, wanted: &Wanted, device: &Device<'_>) -> HashSet<String> {
    let named = |wanted: &Wanted| -> HashSet<(String, String, String)> {
        let mut named = HashSet::new();
        for service in &wanted.services {
            for member in &service.members {
                if let Host::Name(_) = member.host {
                    let at = member.host.with_port(member.port);
                    named.insert((service.names.backend.clone(), member.id.clone(), at));
                }
            }
        }
        named
    };
    let now = named(wanted);
    if now.is_empty() {
        return HashSet::new();
    }
    let before = named(&spec::check(&record.request, device.settings).wanted);
    now.intersection(&before).map(|(backend, member, _)| format!("{backend}/{member}")).collect()
}

fn without_marker(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("    description ")).collect::<Vec<_>>().join("\n")
}
