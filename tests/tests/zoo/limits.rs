//! How near a driver comes to what it may use, looked at while it misbehaves.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use capstan::{config::Limits, drivers::Registry};
use capstan_tests::process;

use super::host;

/// Looks at the processes of the bad driver until it is stopped.
pub struct Watch {
    limits: Limits,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Most>,
}

/// The most that was seen at a time.
#[derive(Debug, Default)]
struct Most {
    /// Of one process.
    files: u64,
    /// Processes without their keeper, which is not under the limit; their threads besides.
    processes: u64,
}

impl Watch {
    /// None when there is no limit that can be looked at.
    pub fn start(registry: &Registry, limits: Limits) -> Option<Self> {
        if limits.files.is_none() && limits.processes.is_none() {
            return None;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (registry, stopped) = (registry.clone(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut most = Most::default();
            while !stopped.load(Ordering::Acquire) {
                if let Some(keeper) = host::bad(&registry).pid {
                    most.look(keeper);
                }
                thread::sleep(Duration::from_millis(2));
            }
            most
        });
        Some(Self { limits, stop, thread })
    }

    /// The driver came to its limit and not beyond it.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        let most = self.thread.join().unwrap();
        for (limit, seen) in [(self.limits.files, most.files), (self.limits.processes, most.processes)] {
            let Some(limit) = limit else { continue };
            assert!(seen > limit / 2 && seen <= limit, "{most:?} of {:?}", self.limits);
        }
    }
}

impl Most {
    fn look(&mut self, keeper: u32) {
        // A process that changes its parent meanwhile is found twice.
        let below: HashSet<u32> = process::below(keeper).into_iter().collect();
        let entries = |pid: u32, what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        for pid in &below {
            self.files = self.files.max(entries(*pid, "fd") as u64);
        }
        self.processes = self.processes.max(below.iter().map(|pid| entries(*pid, "task") as u64).sum());
    }
}

/// The control groups that this process has made and that are still there.
pub fn control_groups() -> Vec<PathBuf> {
    fn look(folder: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
        // Groups come and go meanwhile.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(prefix) {
                    found.push(entry.path());
                }
                look(&entry.path(), prefix, found);
            }
        }
    }
    let mut found = Vec::new();
    look(Path::new("/sys/fs/cgroup"), &format!("capstan-{}-", std::process::id()), &mut found);
    found
}
