//! What the daemon and the processes of its drivers hold, at first and at last.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use capstan_tests::process::below;

/// Figures of one moment, or the greatest of several.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    processes: usize,
    descriptors: usize,
    threads: usize,
    memory_kib: usize,
}

/// How much more of each may be held at last than at first.
const MOST: Held = Held { processes: 0, descriptors: 8, threads: 4, memory_kib: 16 * 1024 };
const MOST_FILES: usize = 4;

impl Held {
    /// One process. Only root sees the descriptors of a process that is not dumpable, as a driver's is.
    fn by(process: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            // A process that has ended and is not reaped has no memory.
            line.split_whitespace().next().map_or(0, |number| number.parse().expect("a number"))
        };
        Ok(Self {
            processes: 1,
            descriptors: fs::read_dir(format!("/proc/{process}/fd"))?.count(),
            threads: value("Threads:"),
            memory_kib: value("VmRSS:"),
        })
    }

    /// All processes of isolated drivers below the daemon, keepers included; what `program.start` started is not theirs.
    fn by_drivers(daemon: u32) -> Self {
        let is_drivers = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(b"__driver"))
        };
        below(daemon)
            .into_iter()
            .filter(is_drivers)
            .map(|pid| Self::by(pid).expect("the driver runs, and we are root"))
            .fold(Self::default(), |sum, one| Self {
                processes: sum.processes + one.processes,
                descriptors: sum.descriptors + one.descriptors,
                threads: sum.threads + one.threads,
                memory_kib: sum.memory_kib + one.memory_kib,
            })
    }

    fn most(self, other: Self) -> Self {
        Self {
            processes: self.processes.max(other.processes),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            memory_kib: self.memory_kib.max(other.memory_kib),
        }
    }

    fn assert_near(self, first: Self, growth: &Growth) {
        assert!(self.processes <= first.processes + MOST.processes, "processes: {growth}");
        assert!(self.descriptors <= first.descriptors + MOST.descriptors, "descriptors: {growth}");
        assert!(self.threads <= first.threads + MOST.threads, "threads: {growth}");
        assert!(self.memory_kib <= first.memory_kib + MOST.memory_kib, "memory: {growth}");
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, descriptors, threads, memory_kib } = self;
        write!(f, "{processes} processes, {descriptors} descriptors, {threads} threads, {memory_kib} KiB")
    }
}

/// Files below a folder; one that goes while it is looked at does not count.
fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    entries.iter().map(|entry| 1 + if entry.path().is_dir() { files(&entry.path()) } else { 0 }).sum()
}

/// What is there at one moment, or at most.
#[derive(Clone, Copy, Default)]
struct Sample {
    daemon: Held,
    drivers: Held,
    files: usize,
}

/// What a daemon holds at the begin and what it holds later.
pub struct Growth {
    daemon: u32,
    folder: PathBuf,
    first: Sample,
    last: Sample,
}

impl Growth {
    /// Of this daemon, the processes of its drivers and the files below this folder.
    pub fn of(daemon: u32, folder: &Path) -> Self {
        Self { daemon, folder: folder.to_owned(), first: Sample::default(), last: Sample::default() }
    }

    /// Looks. The greatest figures of the begin are held against the figures of the last look.
    pub fn sample(&mut self, is_begin: bool) {
        self.last = Sample {
            daemon: Held::by(self.daemon).expect("the daemon runs"),
            drivers: Held::by_drivers(self.daemon),
            files: files(&self.folder),
        };
        if is_begin {
            let (first, last) = (self.first, self.last);
            self.first = Sample {
                daemon: first.daemon.most(last.daemon),
                drivers: first.drivers.most(last.drivers),
                files: first.files.max(last.files),
            };
        }
    }

    /// It did not grow by more than a little.
    pub fn is_bounded(&self) {
        let (first, last) = (self.first, self.last);
        assert!(first.drivers.processes >= 2, "the driver runs in a process of its own, beside its keeper: {self}");
        last.daemon.assert_near(first.daemon, self);
        last.drivers.assert_near(first.drivers, self);
        assert!(last.files <= first.files + MOST_FILES, "files: {self}");
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first, self.last);
        write!(
            f,
            "the daemon held at first (most) {}, at last {}; its drivers {}, then {}; files {}, then {}",
            first.daemon, last.daemon, first.drivers, last.drivers, first.files, last.files
        )
    }
}
