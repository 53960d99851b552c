//! Reload, rollback and restart of one driver.

use std::{
    io,
    sync::{Arc, PoisonError},
    thread,
    time::Duration,
};

use serde::Serialize;

use super::{Driver, Phase, ReloadError, Times, files};
use crate::drivers::{
    DriverEntry, DriverProgram, Kind, LoadError, Registry, Settings,
    pipeline::{self, Generation, Plan},
    registry::Inner,
};

/// So many libraries that serve no more are in the daemon's memory when the operator is told; and again at each multiple.
const MANY_RETIRED: usize = 16;

/// A generation, as an operator knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edition {
    /// Counts the generations of the driver since the daemon started.
    pub generation: u64,
    /// Version in the manifest.
    pub version: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// A driver that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Kind.
    pub kind: Kind,
    /// Name in the table.
    pub name: String,
    /// What served; none when nothing did.
    pub before: Option<Edition>,
    /// What serves.
    pub after: Edition,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wish {
    Reload,
    Rollback,
    Restart,
}

/// Where the next generation comes from.
pub(super) enum Source {
    /// The entry's files as they are there now.
    Files,
    /// The copy of the file that serves, by its hash.
    Again(String),
    /// The copy of a file that served before, by its hash.
    Back(String),
}

impl Source {
    fn kept(&self) -> Option<&str> {
        match self {
            Self::Files => None,
            Self::Again(sha256) | Self::Back(sha256) => Some(sha256),
        }
    }
}

/// A generation that may take over, and what is to be remembered of it then.
pub(super) struct Next {
    pub generation: Generation,
    files: Option<String>,
    is_rolled_back: bool,
}

impl Generation {
    pub fn edition(&self) -> Edition {
        Edition { generation: self.number, version: self.manifest.version.clone(), sha256: self.sha256.clone() }
    }
}

/// Held while files are loaded. When the last load ends, copies that no driver needs are removed.
pub(in crate::drivers) struct Loading<'a>(&'a Inner);

impl<'a> Loading<'a> {
    pub fn begin(inner: &'a Inner) -> Self {
        *inner.loads() += 1;
        Self(inner)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let mut loads = self.0.loads();
        *loads -= 1;
        if *loads == 0 {
            self.0.prune();
        }
    }
}

/// Runs on a thread of its own what runs drivers' code and waits for disks: none of tokio's may be held up by it. It runs to its
/// end also when nobody waits any longer.
pub(in crate::drivers) async fn on_thread<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    thread::Builder::new().name("drivers".into()).spawn(move || {
        let _nobody_waits = sender.send(run());
    })?;
    receiver.await.map_err(|_| io::Error::other("the thread ended without an answer"))
}

impl Registry {
    /// Loads the driver's file anew beside the generation that serves, with the entry's current configuration, and puts it in
    /// place when it passes every stage, is healthy and has every method that is in use. Calls that are out finish where they
    /// are. A driver that failed is simply loaded.
    ///
    /// # Errors
    /// Why not; what served before serves still.
    pub async fn reload(&self, kind: Kind, name: &str) -> Result<Reloaded, ReloadError> {
        self.change(kind, name, Wish::Reload).await
    }

    /// Brings back the file that served before this one, from the copy that was kept, through the same checks. Lasts until the
    /// driver is reloaded or the daemon restarted.
    ///
    /// # Errors
    /// As [`Registry::reload`]; also when nothing is kept.
    pub async fn rollback(&self, kind: Kind, name: &str) -> Result<Reloaded, ReloadError> {
        self.change(kind, name, Wish::Rollback).await
    }

    /// Starts the driver's process again; in the daemon, opens a new generation of the same file with the entry's current
    /// configuration, which ends a quarantine.
    ///
    /// # Errors
    /// As [`Registry::reload`].
    pub async fn restart(&self, kind: Kind, name: &str) -> Result<Reloaded, ReloadError> {
        self.change(kind, name, Wish::Restart).await
    }

    async fn change(&self, kind: Kind, name: &str, wish: Wish) -> Result<Reloaded, ReloadError> {
        let driver = self.driver(kind, name).map_err(ReloadError::Unknown)?;
        let one_at_a_time = Arc::clone(&driver.changing).lock_owned().await;
        if wish == Wish::Restart
            && let Some(generation) = driver.serving()
            && let Some(restarting) = generation.executor.restart()
        {
            let driver = driver.full_name();
            restarting.await.map_err(|error| ReloadError::NotRestarted { driver, reason: error.to_string() })?;
            let edition = generation.edition();
            return Ok(Reloaded { kind, name: name.to_owned(), before: Some(edition.clone()), after: edition });
        }
        let (registry, full_name) = (self.clone(), driver.full_name());
        let changing = move || {
            let _one_at_a_time = one_at_a_time;
            registry.change_now(&driver, wish)
        };
        on_thread(changing).await.unwrap_or_else(|error| {
            Err(ReloadError::Unavailable { driver: full_name, reason: format!("no thread to load it ({error})") })
        })
    }

    /// Blocks.
    fn change_now(&self, driver: &Arc<Driver>, wish: Wish) -> Result<Reloaded, ReloadError> {
        if self.is_closing(driver) {
            return Err(closing(driver));
        }
        let _loading = Loading::begin(&self.inner);
        let serving = driver.serving().map(|generation| generation.sha256.clone());
        let source = match wish {
            Wish::Reload => Source::Files,
            Wish::Restart => serving.map_or(Source::Files, Source::Again),
            Wish::Rollback => {
                let before = driver.record().history.before(serving.as_deref()).map(|served| served.sha256.clone());
                let why = match driver.entry.load().program {
                    DriverProgram::Library(_) => "no generation before this one is kept",
                    DriverProgram::Command(_) => "the files of a command are not kept, as those of a library are",
                };
                let (kind, name) = (driver.kind, driver.name.clone());
                Source::Back(before.ok_or(ReloadError::NothingBefore { kind, name, why })?)
            }
        };
        let outcome = self.bring(driver, &driver.entry.load_full(), &source);
        let mut record = driver.record();
        match &outcome {
            Ok(_) if wish == Wish::Restart => record.restarts += 1,
            Ok(_) => record.reloads += 1,
            Err(error) => record.note_failure(error),
        }
        outcome
    }

    /// Loads and puts in place; a driver that does not serve is loading meanwhile, and then ready or failed. Blocks.
    fn bring(&self, driver: &Arc<Driver>, entry: &DriverEntry, source: &Source) -> Result<Reloaded, ReloadError> {
        let serves = driver.serving().is_some();
        if !serves {
            driver.phase.store(Arc::new(Phase::Loading));
        }
        let next = self.next(driver, &self.inner.settings.load_full(), entry, source).map_err(|error| {
            tracing::error!("{error}");
            if !serves {
                driver.phase.store(Arc::new(Phase::Failed(error.clone())));
            }
            ReloadError::Refused(error)
        })?;
        self.put_in_place(driver, next)
    }

    /// Loads a driver that does not serve. Blocks.
    pub(in crate::drivers) fn load(&self, driver: &Arc<Driver>) {
        // What comes of it stands in its phase.
        let _ready_or_failed = self.bring(driver, &driver.entry.load_full(), &Source::Files);
    }

    /// Whether what would be the next generation passes all that can be asked without running it. Blocks.
    pub(super) fn examine(
        &self,
        driver: &Driver,
        settings: &Settings,
        entry: &DriverEntry,
        source: &Source,
    ) -> Result<(), LoadError> {
        let plan = Plan { number: 0, kept: source.kept(), needs: &driver.methods_in_use() };
        pipeline::examine(settings, entry, &plan)
    }

    /// The next generation, not in place yet. Blocks.
    pub(super) fn next(
        &self,
        driver: &Driver,
        settings: &Settings,
        entry: &DriverEntry,
        source: &Source,
    ) -> Result<Next, LoadError> {
        let retired = || driver.lineage.retired(driver.serving().as_ref().map(|serving| serving.sha256.as_str()));
        let before = retired();
        // Before they are loaded: what is written meanwhile is something new.
        let files = match source {
            Source::Files | Source::Back(_) => files::hash(settings, entry),
            Source::Again(_) => driver.record().files.clone(),
        };
        let plan = Plan { number: driver.next_number(), kept: source.kept(), needs: &driver.methods_in_use() };
        let loaded = pipeline::load(settings, entry, &plan, &driver.lineage, &self.inner.runtime);
        // What is loaded now retires the one that serves, or stays unused itself.
        let after = retired();
        if after > before && after.is_multiple_of(MANY_RETIRED) {
            tracing::warn!(
                driver = %driver.full_name(), retired = after,
                "libraries that serve no more stay in the daemon's memory; restart the daemon when it suits, or set isolation = \"process\""
            );
        }
        let is_rolled_back = match source {
            Source::Files => false,
            Source::Back(_) => true,
            Source::Again(_) => driver.record().is_rolled_back,
        };
        Ok(Next { generation: loaded?, files, is_rolled_back })
    }

    /// Lets a generation serve and sees the one before to its end.
    pub(super) fn put_in_place(&self, driver: &Arc<Driver>, next: Next) -> Result<Reloaded, ReloadError> {
        let Next { generation, files, is_rolled_back } = next;
        let is_library = matches!(generation.entry.program, DriverProgram::Library(_));
        let settings = self.inner.settings.load_full();
        let after = generation.edition();
        let switch = driver.switch.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closing(driver) {
            drop(switch);
            self.discard(driver, generation);
            return Err(closing(driver));
        }
        driver.entry.store(Arc::new(generation.entry.clone()));
        driver.note_number(generation.number);
        let before = driver.generation.swap(Some(Arc::new(generation)));
        driver.phase.store(Arc::new(Phase::Loaded));
        driver.unwell.store(Arc::new(None));
        drop(switch);
        let mut record = driver.record();
        (record.files, record.is_rolled_back, record.last_reload_error) = (files, is_rolled_back, None);
        if is_library {
            record.history.note(&after.sha256, &after.version, is_rolled_back);
        }
        drop(record);
        let (name, Edition { generation, version, sha256 }) = (driver.full_name(), &after);
        let edition = before.as_ref().map(|before| before.edition());
        match &edition {
            None => tracing::info!(driver = %name, %version, %sha256, "driver loaded"),
            Some(before) => tracing::info!(
                driver = %name, generation, %version, %sha256, version_before = %before.version, sha256_before = %before.sha256,
                "another generation of the driver serves"
            ),
        }
        if let Some(before) = before {
            let times = Times { calls: settings.drain_timeout, grace: settings.cancel_grace };
            self.inner.drains.begin(&self.inner.runtime, driver, before, times);
        }
        Ok(Reloaded { kind: driver.kind, name: driver.name.clone(), before: edition, after })
    }

    fn is_closing(&self, driver: &Driver) -> bool {
        self.inner.drains.is_ending() || matches!(**driver.phase.load(), Phase::Draining)
    }

    /// Closes a generation that never served.
    pub(super) fn discard(&self, driver: &Arc<Driver>, generation: Generation) {
        let times = Times { calls: Duration::ZERO, grace: self.inner.settings.load().cancel_grace };
        self.inner.drains.begin(&self.inner.runtime, driver, Arc::new(generation), times);
    }
}

fn closing(driver: &Driver) -> ReloadError {
    let reason = "it is being closed, so no other generation takes its place".to_owned();
    ReloadError::Unavailable { driver: driver.full_name(), reason }
}
