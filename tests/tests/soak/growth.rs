//! What a process holds, at first and at last.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Figures of one moment, or the greatest of several.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    descriptors: usize,
    threads: usize,
    memory_kib: usize,
    files: usize,
}

/// How much more of each may be held at last than at first.
const MOST: Held = Held { descriptors: 8, threads: 4, memory_kib: 16 * 1024, files: 4 };

impl Held {
    fn by(process: u32, folder: &Path) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the daemon runs");
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
        };
        Self {
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).expect("the daemon runs").count(),
            threads: value("Threads:"),
            memory_kib: value("VmRSS:"),
            files: files(folder),
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            memory_kib: self.memory_kib.max(other.memory_kib),
            files: self.files.max(other.files),
        }
    }
}

/// Files below a folder; one that goes while it is looked at does not count.
fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    entries.iter().map(|entry| 1 + if entry.path().is_dir() { files(&entry.path()) } else { 0 }).sum()
}

/// What a process holds at the begin and what it holds later.
pub struct Growth {
    process: u32,
    folder: PathBuf,
    first: Held,
    last: Held,
}

impl Growth {
    /// Of this process and the files below this folder.
    pub fn of(process: u32, folder: &Path) -> Self {
        Self { process, folder: folder.to_owned(), first: Held::default(), last: Held::default() }
    }

    /// Looks. The greatest figures of the begin are held against the figures of the last look.
    pub fn sample(&mut self, is_begin: bool) {
        self.last = Held::by(self.process, &self.folder);
        if is_begin {
            self.first = self.first.most(self.last);
        }
    }

    /// It did not grow by more than a little.
    pub fn is_bounded(&self) {
        let (first, last) = (self.first, self.last);
        assert!(last.descriptors <= first.descriptors + MOST.descriptors, "descriptors: {self}");
        assert!(last.threads <= first.threads + MOST.threads, "threads: {self}");
        assert!(last.memory_kib <= first.memory_kib + MOST.memory_kib, "memory: {self}");
        assert!(last.files <= first.files + MOST.files, "files: {self}");
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first, self.last);
        write!(
            f,
            "the daemon held at first (most) {} descriptors, {} threads, {} KiB, {} files; at last {}, {}, {} KiB, {}",
            first.descriptors,
            first.threads,
            first.memory_kib,
            first.files,
            last.descriptors,
            last.threads,
            last.memory_kib,
            last.files
        )
    }
}
