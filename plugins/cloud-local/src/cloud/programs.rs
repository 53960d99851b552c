//! What the daemon starts and ends for the cloud.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use capstan_plugin_api::{CallContext, DriverError, ProgramSpec};

use super::{Cloud, PAUSE};
use crate::{
    node_folder::NodeFolder,
    record::Plan,
    status::{Phase, boot_id},
};

/// How long a supervisor may take until it says something.
const BEGIN: Duration = Duration::from_secs(10);
/// What a supervisor takes beyond what it gives its program.
const MARGIN: Duration = Duration::from_secs(5);
/// Kept of a call's time for what follows a stop.
const RESERVE: Duration = Duration::from_secs(5);
/// The name of the program, which is beside the daemon's.
const NODE_PROGRAM: &str = "capstan-local-node";

fn supervisor_name(folder: &NodeFolder) -> String {
    format!("node-{}", folder.id())
}

impl Cloud {
    /// The program that stands over nodes: in `../lib/capstan` as seen from the daemon's binary, or else beside it.
    pub(super) fn node_program(&self) -> Result<PathBuf, DriverError> {
        let missing = |looked: String| {
            DriverError::unavailable(format!("the program {NODE_PROGRAM} is missing"))
                .for_operator(format!("it is not at {looked}; install it, or name it by the key node_program"))
        };
        if let Some(path) = &self.options.node_program {
            return if path.exists() { Ok(path.clone()) } else { Err(missing(path.display().to_string())) };
        }
        let binary = std::env::current_exe().map_err(|error| missing(error.to_string()))?;
        let folder = binary.parent().unwrap_or(Path::new("/"));
        let places =
            [folder.parent().unwrap_or(folder).join("lib/capstan").join(NODE_PROGRAM), folder.join(NODE_PROGRAM)];
        let shown = || places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" or ");
        places.iter().find(|place| place.exists()).cloned().ok_or_else(|| missing(shown()))
    }

    /// Starts the supervisor of a node, which must have none, and waits until it says so.
    pub(super) fn start(&self, call: &CallContext, folder: &NodeFolder, run: u64) -> Result<(), DriverError> {
        call.host().program_start(&ProgramSpec {
            name: supervisor_name(folder),
            command: self.command("run", folder.path())?,
            environment: Default::default(),
            directory: Some(folder.disk()),
            output: Some(folder.output()),
        })?;
        let until = (Instant::now() + BEGIN).min(call.deadline());
        while folder.status().is_none_or(|status| status.run != run) {
            if Instant::now() > until {
                return Err(
                    DriverError::unavailable("the node's supervisor does not begin").for_operator(folder.tail(512))
                );
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn command(&self, word: &str, path: &Path) -> Result<Vec<String>, DriverError> {
        let words =
            [self.node_program()?.as_path(), Path::new(word), path].map(|word| word.to_str().map(str::to_owned));
        words.into_iter().collect::<Option<_>>().ok_or_else(|| DriverError::internal("a path is not UTF-8"))
    }

    /// Ends all that runs for a node. It is asked first, by whoever stands over it; what is left, or was started by another daemon, is
    /// found by its mark.
    pub(super) fn end(&self, call: &CallContext, folder: &NodeFolder, plan: Option<&Plan>) -> Result<(), DriverError> {
        let stop = Duration::from_secs(plan.map_or(0, |plan| plan.stop_seconds).into());
        let grace = (stop + MARGIN).min(call.time_left().saturating_sub(RESERVE));
        let name = supervisor_name(folder);
        call.host().program_stop(&name, u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))?;
        if has_ended(folder) {
            return Ok(());
        }
        let name = format!("end-{}", folder.id());
        call.host().program_start(&ProgramSpec {
            name: name.clone(),
            command: self.command("end", folder.path())?,
            environment: Default::default(),
            directory: None,
            output: Some(folder.output()),
        })?;
        while call.host().program_find(&name)?.is_some() {
            call.check()?;
            thread::sleep(PAUSE);
        }
        call.host().program_stop(&name, 0)?;
        if has_ended(folder) {
            return Ok(());
        }
        Err(DriverError::unavailable("the node's processes do not end").for_operator(folder.tail(512)))
    }
}

/// Nothing of the node runs: its supervisor said so and has gone, it was never started, or the machine was not up since.
fn has_ended(folder: &NodeFolder) -> bool {
    if folder.is_supervised() {
        return false;
    }
    let was_started = || folder.record().ok().flatten().is_none_or(|record| record.run > 0);
    match folder.status() {
        Some(status) => matches!(status.phase, Phase::Ended | Phase::Failed) || status.boot_id != boot_id(),
        None => !was_started(),
    }
}
