//! What the registry is told; the configuration room fills it in.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use capstan_plugin_api::Secret;

use super::{
    Channel, Confinement, DriverProgram, Isolation, Kind,
    hooks::{LogHook, NotifyHook},
};
use crate::{config::Trust, telemetry::Figures};

/// One entry of `known_drivers`. `Debug` leaves out the configuration, which may hold secrets.
#[derive(Clone, PartialEq)]
pub struct DriverEntry {
    /// Kind, from the table.
    pub kind: Kind,
    /// Name, from the table.
    pub name: String,
    /// What runs it; a relative path is one below [`Settings::driver_directory`].
    pub program: DriverProgram,
    /// Where a command finds its frames.
    pub channel: Channel,
    /// Where it runs.
    pub isolation: Isolation,
    /// Calls at the same time; at least 1.
    pub max_concurrency: usize,
    /// Calls that wait for their turn; the next one is answered `unavailable` at once.
    pub max_queue: usize,
    /// Deadline of a call that brings none; none means [`Settings::call_timeout`].
    pub call_timeout: Option<Duration>,
    /// The daemon does not start without it.
    pub required: bool,
    /// What its process may use, reach and be; has no effect in-process.
    pub confinement: Confinement,
    /// Pin: 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// What else its file must have to be trusted.
    pub trust: Trust,
    /// The driver's own section, secrets already in their places.
    pub config: serde_json::Value,
    /// What `secret.get` gives, by name.
    pub secrets: BTreeMap<String, Secret>,
}

impl DriverEntry {
    /// An entry with the defaults: 8 calls at a time, 64 waiting, in-process, an empty configuration.
    pub fn new(kind: Kind, name: impl Into<String>, library: impl Into<PathBuf>) -> Self {
        Self {
            kind,
            name: name.into(),
            program: DriverProgram::Library(library.into()),
            channel: Channel::Stdio,
            isolation: Isolation::InProcess,
            max_concurrency: 8,
            max_queue: 64,
            call_timeout: None,
            required: false,
            confinement: Confinement::default(),
            sha256: None,
            trust: Trust::default(),
            config: serde_json::Value::Object(serde_json::Map::new()),
            secrets: BTreeMap::new(),
        }
    }

    /// The file of the library, or of the command's program.
    pub fn file(&self) -> &Path {
        match &self.program {
            DriverProgram::Library(path) => path,
            DriverProgram::Command(command) => Path::new(command.first().map_or("", String::as_str)),
        }
    }

    /// What follows a command's program; nothing for a library.
    pub fn arguments(&self) -> &[String] {
        match &self.program {
            DriverProgram::Library(_) => &[],
            DriverProgram::Command(command) => command.get(1..).unwrap_or_default(),
        }
    }

    /// `kind.name`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.kind, self.name)
    }
}

impl fmt::Debug for DriverEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverEntry")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("program", &self.program)
            .field("isolation", &self.isolation)
            .finish_non_exhaustive()
    }
}

/// When the next process of a driver is started after one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supervision {
    /// The longest wait after the first end; it doubles with each, and each wait is drawn from the upper half of its span.
    pub first_wait: Duration,
    /// It grows no further than to this.
    pub longest_wait: Duration,
    /// A process that served for so long was a good one: the count of ends begins anew.
    pub stable: Duration,
    /// After so many ends in a row the circuit opens.
    pub most_ends: u32,
    /// An open circuit is tried once after this time.
    pub open_for: Duration,
}

impl Default for Supervision {
    /// 250 ms to 30 s, anew after 60 s; after 10 ends in a row 300 s.
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_secs(30),
            stable: Duration::from_secs(60),
            most_ends: 10,
            open_for: Duration::from_secs(300),
        }
    }
}

/// What the registry needs to know.
#[derive(Clone)]
pub struct Settings {
    /// The daemon's own directory; copies, state and program records lie below it. One daemon at a time uses it.
    pub state_dir: PathBuf,
    /// Where relative names of libraries are looked for.
    pub driver_directory: PathBuf,
    /// Admits the daemon's own user as owner of a driver's file and its parents, beside root.
    pub trust_own_files: bool,
    /// Program that is run as `PROGRAM __probe-driver FILE DAEMON`, where it calls [`super::probe_main`], and as `PROGRAM
    /// __driver SPECIFICATION`, where it calls [`super::driver_main`].
    pub probe_executable: PathBuf,
    /// Deadline of a call that brings none.
    pub call_timeout: Duration,
    /// How long a driver may take for `open`.
    pub open_timeout: Duration,
    /// How long a driver may take for `health`.
    pub health_timeout: Duration,
    /// How often a driver is asked for its health; zero never.
    pub health_interval: Duration,
    /// How long the throw-away child may take.
    pub probe_timeout: Duration,
    /// Time between `cancel` and giving a thread up for lost.
    pub cancel_grace: Duration,
    /// How long calls that are out may go on in a generation that has been replaced.
    pub drain_timeout: Duration,
    /// Lost threads that are replaced; one more quarantines the driver.
    pub max_lost: usize,
    /// What follows the end of a driver's process.
    pub supervision: Supervision,
    /// `systemd-run`, where programs of drivers are to get a scope of their own; none starts them directly.
    pub systemd_run: Option<PathBuf>,
    /// Called for each `notify` of a driver.
    pub on_notify: Option<NotifyHook>,
    /// Called for each line of a driver.
    pub on_log: Option<LogHook>,
    /// Where calls are counted.
    pub figures: Figures,
    /// The entries.
    pub drivers: Vec<DriverEntry>,
}

impl Settings {
    /// Settings with the defaults: calls and `open` 30 s, health 5 s each 30 s, probe 10 s, grace 1 s, draining 60 s, 4 lost
    /// threads.
    pub fn new(state_dir: impl Into<PathBuf>, driver_directory: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            driver_directory: driver_directory.into(),
            trust_own_files: false,
            probe_executable: "/proc/self/exe".into(),
            call_timeout: Duration::from_secs(30),
            open_timeout: Duration::from_secs(30),
            health_timeout: Duration::from_secs(5),
            health_interval: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(60),
            max_lost: 4,
            supervision: Supervision::default(),
            systemd_run: systemd_run(),
            on_notify: None,
            on_log: None,
            figures: Figures::default(),
            drivers: Vec::new(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("state_dir", &self.state_dir)
            .field("driver_directory", &self.driver_directory)
            .field("trust_own_files", &self.trust_own_files)
            .field("drivers", &self.drivers.iter().map(DriverEntry::full_name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// What `sd_booted(3)` looks at.
pub(super) fn systemd_is_init() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A scope can be made when systemd is the init and we are root.
pub(super) fn systemd_run() -> Option<PathBuf> {
    let program = Path::new("/usr/bin/systemd-run");
    (systemd_is_init() && rustix::process::geteuid().is_root() && program.exists()).then(|| program.to_owned())
}

/// Where drivers lie by default: `../lib/capstan/drivers` as seen from the binary's folder, else that folder.
pub fn default_directory(executable: &Path) -> PathBuf {
    let folder = executable.parent().unwrap_or(Path::new("/"));
    let installed = folder.parent().map(|prefix| prefix.join("lib/capstan/drivers"));
    installed.filter(|path| path.is_dir()).unwrap_or_else(|| folder.to_owned())
}
