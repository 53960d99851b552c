//! The conformance kit: what every driver of a kind must do, asked of one driver over the same boundary that the daemon uses.
//!
//! `capstan driver check` runs it. A check passes, fails, or is skipped with the reason; nothing passes for want of a look. The
//! driver is opened with a state directory of its own, in each mode that it can run in.

mod bench;
mod calls;
mod config;
mod contract;
mod declared;
mod life;
mod methods;
mod outcome;
mod release;
mod secrets;

use std::path::PathBuf;

use serde_json::Value;

pub use declared::Declared;
pub use outcome::{Outcome, Report, Verdict};
pub use release::Release;

use crate::drivers::{DriverEntry, DriverProgram, Isolation, Settings};
use bench::Bench;

/// What is checked.
pub struct Subject {
    /// The entry as a configuration would name it; its isolation is set by the kit.
    pub entry: DriverEntry,
    /// Where the kit's drivers keep what they keep; the kit makes folders below it.
    pub scratch: PathBuf,
    /// The daemon's own binary, for children.
    pub executable: PathBuf,
    /// Admits the user's own files, beside root's.
    pub trust_own_files: bool,
    /// The configuration is that of a real backend: calls that change something are made there.
    pub is_live: bool,
    /// Whatever one instance makes there, another sees.
    pub is_backend_shared: bool,
    /// The system that the file is for, when it is not this one.
    pub release: Option<Release>,
}

impl Subject {
    fn settings(&self, folder: &str, entries: Vec<DriverEntry>) -> Settings {
        let mut settings = Settings::new(self.scratch.join(folder), "/");
        settings.trust_own_files = self.trust_own_files;
        settings.probe_executable = self.executable.clone();
        settings.drivers = entries;
        settings
    }

    fn entry(&self, isolation: Isolation, config: &Value) -> DriverEntry {
        let mut entry = self.entry.clone();
        entry.isolation = isolation;
        entry.config = config.clone();
        entry.max_concurrency = 64;
        entry
    }
}

/// Runs every check; `tell` is given each outcome as it comes. Needs tokio's runtime with more than one thread.
pub async fn run<'a>(subject: &Subject, tell: &'a mut dyn FnMut(&Outcome)) -> Report<'a> {
    let mut report = Report::new(subject.entry.full_name(), tell);
    let declared = declared::check(subject, &mut report);
    if report.has_failed() {
        // Nothing of it runs before its file is in order.
        return report.finish();
    }
    for mode in modes(subject, declared.as_ref(), &mut report) {
        if mode == Isolation::InProcess && report.has_failed() {
            report.skip("in-process", "it did not pass in a process of its own, so it is not let into this one");
            continue;
        }
        let config = config::of(subject, declared.as_ref());
        report.enter(mode);
        let Some(bench) = Bench::open(subject, &subject.entry.name, mode.as_str(), mode, &config, &mut report).await
        else {
            continue;
        };
        calls::check(&bench, &mut report).await;
        contract::check(subject, &bench, &mut report).await;
        calls::check_under_load(&bench, &mut report).await;
        secrets::check(&bench, &config, &mut report);
        bench.close(&mut report).await;
        life::check(subject, mode, &config, &mut report).await;
    }
    report.finish()
}

/// The modes that a driver can run in.
fn modes(subject: &Subject, declared: Option<&Declared>, report: &mut Report<'_>) -> Vec<Isolation> {
    let no_unwinding = declared.is_some_and(|declared| declared.manifest.panic == "abort");
    if matches!(subject.entry.program, DriverProgram::Command(_)) {
        return vec![Isolation::Process];
    }
    if no_unwinding {
        report.skip(
            "in-process",
            "it is built with panic = \"abort\", so the daemon runs it in a process of its own only",
        );
        return vec![Isolation::Process];
    }
    vec![Isolation::Process, Isolation::InProcess]
}
