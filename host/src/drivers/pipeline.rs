//! All stages of loading, one after the other.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use capstan_plugin_api::Manifest;
use tokio::runtime::Handle;

use super::{
    Channel, DriverEntry, DriverFile, DriverProgram, Isolation, LoadError, Settings,
    child::Program,
    compatibility::{self, Wanted},
    configuration,
    elf::ElfFacts,
    error::{Failure, Stage},
    executor::Executor,
    file,
    gate::Gate,
    generations::{Lineage, check_needs},
    host_services::{CallTable, HostServices},
    in_process::{InProcess, Limits},
    integrity::{self, Vouched},
    isolated::{self, Expected, Isolated, Judge, Launch, Patience},
    loader,
    manifest::{self, is_name},
    opening, probe, program_file,
    programs::Programs,
    store::Store,
};

/// One loaded version of a driver's file with its open instance.
pub(super) struct Generation {
    pub number: u64,
    /// The entry that it was loaded for.
    pub entry: DriverEntry,
    /// Deadline of a call that brings none.
    pub call_timeout: Duration,
    pub manifest: Arc<Manifest>,
    pub sha256: String,
    pub gate: Gate,
    pub calls: Arc<CallTable>,
    pub services: Arc<HostServices>,
    pub executor: Box<dyn Executor>,
    /// Its time is over: calls that are still out have been cancelled.
    pub cut_off: AtomicBool,
}

/// What a load is to bring.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// Number of the generation.
    pub number: u64,
    /// Hash of the kept copy of a library to load; none means the entry's file.
    pub kept: Option<&'a str>,
    /// Methods that the driver must have.
    pub needs: &'a [String],
}

/// Takes an entry through all stages. Blocks, so it may not run on a thread of the runtime; runs the driver's `open` and
/// `health`.
pub(super) fn load(
    settings: &Settings,
    entry: &DriverEntry,
    plan: &Plan<'_>,
    lineage: &Lineage,
    runtime: &Handle,
) -> Result<Generation, LoadError> {
    let calls = Arc::new(CallTable::default());
    let services = Arc::new(services(settings, entry, &calls, lineage));
    let loading = Loading { settings, entry, plan, lineage, runtime, calls, services };
    let path = source_path(settings, entry, plan);
    loading.stages(&path).map_err(|failure| failure.of(entry.full_name(), path))
}

/// Where what is loaded lies.
fn source_path(settings: &Settings, entry: &DriverEntry, plan: &Plan<'_>) -> PathBuf {
    match plan.kept {
        None => file::resolve(&settings.driver_directory, entry.file()),
        Some(sha256) => Store::copy_path(&settings.state_dir, sha256),
    }
}

/// Looks at what an entry names as far as that goes without running a line of it: a library up to its configuration, the
/// program of a command up to its signature. Blocks.
///
/// # Errors
/// The stage at which it was refused.
pub(super) fn examine(settings: &Settings, entry: &DriverEntry, plan: &Plan<'_>) -> Result<(), LoadError> {
    let path = source_path(settings, entry, plan);
    let stages = || match &entry.program {
        DriverProgram::Library(_) => {
            let library = CheckedLibrary::open(settings, entry, plan, &path)?;
            configuration::check(&library.manifest, &entry.config)
        }
        DriverProgram::Command(_) => CheckedProgram::open(settings, entry, &path).map(drop),
    };
    stages().map_err(|failure| failure.of(entry.full_name(), &path))
}

/// Starts the command of an entry, confined as the entry says, for what it says of itself: as far as its hello, never to its
/// `open`. Needs tokio's runtime.
///
/// # Errors
/// The stage at which it was refused.
pub async fn greet(settings: Settings, entry: DriverEntry) -> Result<DriverFile, LoadError> {
    let path = file::resolve(&settings.driver_directory, entry.file());
    let (runtime, shown) = (Handle::current(), path.clone());
    let look = move || {
        let (plan, lineage) = (Plan::default(), Lineage::new(&settings, entry.kind, &entry.name));
        let calls = Arc::new(CallTable::default());
        let services = Arc::new(services(&settings, &entry, &calls, &lineage));
        let (settings, entry) = (&settings, &entry);
        let loading = Loading { settings, entry, plan: &plan, lineage: &lineage, runtime: &runtime, calls, services };
        let program = CheckedProgram::open(settings, entry, &path)?;
        let (path, size, sha256) = (program.path.clone(), program.size, program.sha256.clone());
        let seen = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&seen);
        // What was wanted is known by then, so it goes no further.
        let judge = move |manifest: &Manifest| {
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(manifest.clone());
            Err(Failure::new(Stage::Manifest, "a manifest", "no more than that", "go on"))
        };
        let failure = loading.command(program, Arc::new(judge)).err();
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let manifest = seen.ok_or_else(|| {
            failure.unwrap_or_else(|| Failure::new(Stage::Manifest, "no manifest", "one", "ask the driver's vendor"))
        })?;
        Ok(DriverFile { path, sha256, size, manifest, glibc: None, libraries: Vec::new() })
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(outcome) => outcome.map_err(|failure: Failure| failure.of("", shown)),
        Err(error) => {
            Err(Failure::new(Stage::Manifest, error.to_string(), "a manifest", "report this as a bug").of("", shown))
        }
    }
}

/// The file of a library that may be loaded, as far as that is known without running it.
struct CheckedLibrary {
    bytes: Vec<u8>,
    facts: ElfFacts,
    manifest: Manifest,
    vouched: Vouched,
}

impl CheckedLibrary {
    /// Stages file to signature.
    fn open(settings: &Settings, entry: &DriverEntry, plan: &Plan<'_>, path: &Path) -> Result<Self, Failure> {
        let pin = entry.sha256.as_deref();
        let (bytes, vouched) = match plan.kept {
            None => {
                let checked = file::open(path, settings.trust_own_files)?;
                let vouched = integrity::check(pin, &entry.trust, &checked);
                (checked.bytes, vouched)
            }
            Some(sha256) => {
                let store = Store::open(&settings.state_dir)?;
                let bytes = store.read(sha256)?;
                let vouched = integrity::check_kept(pin, &entry.trust, &bytes, store.signatures(sha256));
                (bytes, vouched)
            }
        };
        let (facts, manifest) = manifest::read(&bytes)?;
        compatibility::check(&facts, &manifest, &Wanted::of(entry))?;
        check_needs(&manifest, plan.needs)?;
        // Asked for above, told here: a file that is no driver at all is better told so.
        Ok(Self { bytes, facts, manifest, vouched: vouched? })
    }
}

/// The program of a command that may be started.
struct CheckedProgram {
    path: PathBuf,
    size: u64,
    sha256: String,
}

impl CheckedProgram {
    /// Stages file to signature.
    fn open(settings: &Settings, entry: &DriverEntry, path: &Path) -> Result<Self, Failure> {
        let checked = file::open_program(path, settings.trust_own_files).map_err(|failure| match failure.stage {
            Stage::Resolve => Failure::new(Stage::Resolve, failure.found, "a program", "correct `command`"),
            _ => failure,
        })?;
        program_file::check(&checked.path, checked.mode, &checked.bytes)?;
        let sha256 = integrity::check(entry.sha256.as_deref(), &entry.trust, &checked)?.sha256;
        Ok(Self { path: checked.path, size: checked.bytes.len() as u64, sha256 })
    }
}

/// What a driver says of itself, the hash of its file, and what runs its calls.
type Loaded = (Arc<Manifest>, String, Box<dyn Executor>);

/// What the stages share.
struct Loading<'a> {
    settings: &'a Settings,
    entry: &'a DriverEntry,
    plan: &'a Plan<'a>,
    lineage: &'a Lineage,
    runtime: &'a Handle,
    calls: Arc<CallTable>,
    services: Arc<HostServices>,
}

impl Loading<'_> {
    fn stages(self, path: &Path) -> Result<Generation, Failure> {
        // An instance for one cloud of the farm is called DRIVER@CLOUD.
        let (driver, cloud) = self.entry.name.split_once('@').unwrap_or((&self.entry.name, "c"));
        if !is_name(driver) || !is_name(cloud) {
            return Err(Failure::new(
                Stage::Resolve,
                format!("the name {:?}", self.entry.name),
                "a-z, 0-9, _ and -, a letter first, at most 64 bytes",
                "rename the entry in known_drivers or in cloud_farm",
            ));
        }
        let (manifest, sha256, executor) = match &self.entry.program {
            DriverProgram::Library(_) => self.library(path)?,
            DriverProgram::Command(_) => {
                self.command(CheckedProgram::open(self.settings, self.entry, path)?, self.judge())?
            }
        };
        let Self { settings, entry, plan, lineage, calls, services, .. } = self;
        Ok(Generation {
            number: plan.number,
            entry: entry.clone(),
            call_timeout: entry.call_timeout.unwrap_or(settings.call_timeout),
            manifest,
            sha256,
            gate: Gate::new(entry.max_concurrency, entry.max_queue, Arc::clone(&lineage.turns)),
            calls,
            services,
            executor,
            cut_off: AtomicBool::new(false),
        })
    }

    fn library(&self, path: &Path) -> Result<Loaded, Failure> {
        let Self { settings, entry, .. } = self;
        let CheckedLibrary { bytes, facts, manifest, vouched } =
            CheckedLibrary::open(settings, entry, self.plan, path)?;
        let Vouched { sha256, signatures } = vouched;
        let store = Store::open(&settings.state_dir)?;
        let copy = store.keep(&sha256, &bytes)?;
        if let Some(signatures) = signatures {
            store.keep_signatures(&sha256, &signatures)?;
        }
        drop(bytes);
        if entry.isolation == Isolation::Process {
            // The process is its own probe: what crashes or hangs there costs the daemon nothing.
            configuration::check(&manifest, &entry.config)?;
            let manifest = Arc::new(manifest);
            let program = Program::Library { path: copy, sha256: sha256.clone() };
            let (isolated, manifest) = self.isolated(program, Expected::Same(manifest))?;
            return Ok((manifest, sha256, Box::new(isolated)));
        }
        probe::probe(settings, &store, &sha256, &copy)?;
        configuration::check(&manifest, &entry.config)?;
        self.lineage.note_mapped(&sha256);
        let loaded = loader::load(&copy)?;
        if facts.manifest.as_deref() != Some(&loaded.manifest) {
            return Err(Failure::new(
                Stage::Load,
                "a manifest from `describe` that differs from the one in the file",
                "the same bytes in both",
                "ask the driver's vendor: the manifest lies",
            ));
        }
        let instance = opening::open(settings, entry, loaded.table, Arc::clone(&self.services))?;
        let limits = Limits {
            max_concurrency: entry.max_concurrency.max(1),
            max_lost: settings.max_lost,
            cancel_grace: settings.cancel_grace,
        };
        let executor = InProcess::new(&entry.full_name(), instance, limits, Arc::clone(&self.lineage.figures));
        Ok((Arc::new(manifest), sha256, Box::new(executor)))
    }

    /// A command shows its manifest in its hello, so it is started before that can be looked at.
    fn command(&self, checked: CheckedProgram, judge: Judge) -> Result<Loaded, Failure> {
        let CheckedProgram { path, sha256, .. } = checked;
        let program = Program::Command {
            path,
            sha256: sha256.clone(),
            arguments: self.entry.arguments().to_vec(),
            on_descriptor: self.entry.channel == Channel::Descriptor,
        };
        let (isolated, manifest) = self.isolated(program, Expected::Judged(judge))?;
        Ok((manifest, sha256, Box::new(isolated)))
    }

    /// Whether what a command says of itself is what the entry asks for.
    fn judge(&self) -> Judge {
        let (kind, config, needs) = (self.entry.kind, self.entry.config.clone(), self.plan.needs.to_vec());
        Arc::new(move |manifest: &Manifest| {
            compatibility::check_interface(manifest, kind)?;
            check_needs(manifest, &needs)?;
            configuration::check(manifest, &config)
        })
    }

    fn isolated(&self, program: Program, expected: Expected) -> Result<(Isolated, Arc<Manifest>), Failure> {
        let Self { settings, entry, .. } = self;
        entry.confinement.make_folders(&settings.state_dir);
        Isolated::start(isolated::Start {
            launch: Launch {
                driver: entry.full_name(),
                executable: settings.probe_executable.clone(),
                program,
                max_concurrency: entry.max_concurrency.max(1),
                confinement: entry.confinement.clone(),
                is_told: Arc::default(),
            },
            services: Arc::clone(&self.services),
            config: entry.config.clone(),
            expected,
            patience: Patience {
                hello: settings.probe_timeout,
                open: settings.open_timeout,
                health: settings.health_timeout,
            },
            cancel_grace: settings.cancel_grace,
            supervision: settings.supervision,
            figures: Arc::clone(&self.lineage.figures),
            runtime: self.runtime.clone(),
        })
    }
}

fn services(settings: &Settings, entry: &DriverEntry, calls: &Arc<CallTable>, lineage: &Lineage) -> HostServices {
    let full_name = entry.full_name();
    HostServices {
        kind: entry.kind,
        name: entry.name.clone(),
        calls: Arc::clone(calls),
        state: Arc::clone(&lineage.state),
        programs: Programs::new(&settings.state_dir, &full_name, settings.systemd_run.clone()),
        secrets: entry.secrets.clone(),
        on_notify: settings.on_notify.clone(),
        on_log: settings.on_log.clone(),
        kept: Arc::clone(&lineage.kept),
        ending: AtomicBool::new(false),
    }
}
