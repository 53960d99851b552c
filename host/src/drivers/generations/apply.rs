//! A new table of drivers: what differs from the one before is done, all of it or nothing.

use std::{collections::BTreeMap, io::Write, path::PathBuf, sync::Arc};

use super::{
    Driver, Loading, NotApplied, Reloaded,
    change::{Next, Source},
    files, on_thread,
};
use crate::drivers::{
    DriverEntry, DriverProgram, Registry, Settings, file, monitor,
    pipeline::Generation,
    registry::{Key, in_parallel},
};

/// What a new table changed; drivers as `kind.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Drivers that are new.
    pub added: Vec<String>,
    /// Drivers with another generation.
    pub changed: Vec<Reloaded>,
    /// Drivers that are gone, as soon as their calls have ended.
    pub removed: Vec<String>,
}

impl Applied {
    /// Nothing differed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// A driver whose next generation has to be loaded.
struct Step {
    driver: Arc<Driver>,
    entry: DriverEntry,
    source: Source,
}

impl Registry {
    /// Takes over a new table: loads what is new or differs in its entry or its file, and when all of that can serve, puts it in
    /// place and closes what is gone. A driver that failed before and whose entry is the same is tried again, and may fail again.
    /// State folder, hooks and figures stay those of the first table.
    ///
    /// # Errors
    /// Each fault in one line: a driver that cannot be loaded, or one that is gone from the table and used by a running service.
    /// Everything is as it was then.
    pub async fn apply(&self, settings: Settings) -> Result<Applied, NotApplied> {
        let one_at_a_time = Arc::clone(&self.inner.applying).lock_owned().await;
        let registry = self.clone();
        let applying = move || {
            let _one_at_a_time = one_at_a_time;
            registry.apply_now(settings)
        };
        let no_thread = |error| Err(NotApplied(vec![format!("the drivers cannot be loaded: no thread ({error})")]));
        on_thread(applying).await.unwrap_or_else(no_thread)
    }

    /// Blocks.
    fn apply_now(&self, settings: Settings) -> Result<Applied, NotApplied> {
        let _loading = Loading::begin(&self.inner);
        let running = self.inner.settings.load_full();
        let settings = Settings {
            state_dir: running.state_dir.clone(),
            probe_executable: running.probe_executable.clone(),
            on_notify: running.on_notify.clone(),
            on_log: running.on_log.clone(),
            figures: running.figures.clone(),
            ..settings
        };
        let before = self.inner.drivers.load_full();
        let _none_changes: Vec<_> =
            before.values().map(|driver| Arc::clone(&driver.changing).blocking_lock_owned()).collect();
        let mut table: BTreeMap<Key, Arc<Driver>> = BTreeMap::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut again: Vec<Arc<Driver>> = Vec::new();
        for entry in &settings.drivers {
            let key = (entry.kind, entry.name.clone());
            let driver = match before.get(&key) {
                Some(driver) => Arc::clone(driver),
                None => self.inner.declare(&settings, entry),
            };
            match (before.contains_key(&key), driver.serving()) {
                (true, Some(generation)) => steps.extend(self.step(&driver, &generation, entry, &running, &settings)),
                (true, None) if is_same(&driver.entry.load(), &running, entry, &settings) => {
                    again.push(Arc::clone(&driver));
                }
                _ => steps.push(Step { driver: Arc::clone(&driver), entry: entry.clone(), source: Source::Files }),
            }
            table.insert(key, driver);
        }
        let removed: Vec<&Arc<Driver>> =
            before.iter().filter(|(key, _)| !table.contains_key(key)).map(|(_, driver)| driver).collect();
        let in_use: Vec<String> = removed.iter().filter_map(|driver| still_used(driver)).collect();
        if !in_use.is_empty() {
            return Err(NotApplied(in_use));
        }
        let generations = self.load_steps(&settings, &steps)?;

        self.inner.settings.store(Arc::new(settings));
        let settings = self.inner.settings.load_full();
        let mut applied = Applied::default();
        for (step, generation) in steps.iter().zip(generations) {
            let change = self.put_in_place(&step.driver, generation);
            let change = change.map_err(|error| NotApplied(vec![error.to_string()]))?;
            if before.contains_key(&(step.entry.kind, step.entry.name.clone())) {
                step.driver.record().reloads += 1;
                applied.changed.push(change);
            } else {
                monitor::watch(&self.inner, &step.driver);
                applied.added.push(step.driver.full_name());
            }
        }
        for entry in &settings.drivers {
            // What needs no other generation, as `required`.
            if let Some(driver) = table.get(&(entry.kind, entry.name.clone())) {
                driver.entry.store(Arc::new(entry.clone()));
            }
        }
        self.inner.drivers.store(Arc::new(table));
        for driver in removed {
            self.retire(driver, settings.drain_timeout);
            applied.removed.push(driver.full_name());
        }
        in_parallel(&again, |driver| self.load(driver));
        if let Some(watcher) = self.inner.watcher().as_mut() {
            // Where it has ended nobody has to know.
            let _ended = watcher.write_all(&[0]);
        }
        Ok(applied)
    }

    /// What is to be loaded for an entry whose driver serves; none when nothing differs.
    fn step(
        &self,
        driver: &Arc<Driver>,
        generation: &Generation,
        entry: &DriverEntry,
        running: &Settings,
        settings: &Settings,
    ) -> Option<Step> {
        let (files, is_rolled_back) = {
            let record = driver.record();
            (record.files.clone(), record.is_rolled_back)
        };
        let step = |source| Some(Step { driver: Arc::clone(driver), entry: entry.clone(), source });
        if !is_same(&generation.entry, running, entry, settings) {
            // Who rolled back and then changes the configuration does not ask for the file that was rolled back from.
            let is_same_file = path(&generation.entry, running) == path(entry, settings);
            let stay = is_rolled_back && is_same_file;
            return step(if stay { Source::Again(generation.sha256.clone()) } else { Source::Files });
        }
        // Files that cannot be read are no difference as long as nothing asks for them.
        let is_new = files::hash(settings, entry).is_some_and(|hash| Some(hash) != files);
        is_new.then(|| step(Source::Files)).flatten()
    }

    /// All generations, or the faults of those that are refused. What can be refused without running it is, before the first of
    /// them is opened: so that an `open` has seldom been for nothing.
    fn load_steps(&self, settings: &Settings, steps: &[Step]) -> Result<Vec<Next>, NotApplied> {
        let examined = in_parallel(steps, |step| self.examine(&step.driver, settings, &step.entry, &step.source));
        let refused: Vec<_> = steps.iter().zip(examined).filter_map(|(step, one)| Some((step, one.err()?))).collect();
        if !refused.is_empty() {
            refused.iter().for_each(|(step, error)| step.driver.record().note_failure(error));
            return Err(NotApplied(refused.iter().map(|(_, error)| error.to_string()).collect()));
        }
        let loaded = in_parallel(steps, |step| self.next(&step.driver, settings, &step.entry, &step.source));
        let faults: Vec<String> = loaded.iter().filter_map(|one| one.as_ref().err()).map(ToString::to_string).collect();
        if faults.is_empty() {
            return Ok(loaded.into_iter().flatten().collect());
        }
        for (step, one) in steps.iter().zip(loaded) {
            match one {
                Ok(next) => self.discard(&step.driver, next.generation),
                Err(error) => step.driver.record().note_failure(&error),
            }
        }
        Err(NotApplied(faults))
    }
}

/// Why a driver that is gone from the table cannot be closed.
fn still_used(driver: &Driver) -> Option<String> {
    let services = driver.services();
    (!services.is_empty()).then(|| {
        format!(
            "driver {name}: found no entry known_drivers.{name}, but {} uses it; expected the entry as long as it is used; put it \
             back, or restart the daemon",
            services.join(" and "),
            name = driver.full_name()
        )
    })
}

fn path(entry: &DriverEntry, settings: &Settings) -> PathBuf {
    file::resolve(&settings.driver_directory, entry.file())
}

/// Two entries lead to the same generation, if the file is the same.
fn is_same(one: &DriverEntry, its: &Settings, other: &DriverEntry, others: &Settings) -> bool {
    let effective = |entry: &DriverEntry, settings: &Settings| DriverEntry {
        program: match &entry.program {
            DriverProgram::Library(_) => DriverProgram::Library(path(entry, settings)),
            DriverProgram::Command(command) => DriverProgram::Command(command.clone()),
        },
        call_timeout: Some(entry.call_timeout.unwrap_or(settings.call_timeout)),
        required: false,
        ..entry.clone()
    };
    path(one, its) == path(other, others) && effective(one, its) == effective(other, others)
}
