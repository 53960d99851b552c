//! Folders of this run, and what happens when it is interrupted.

use std::{fs, path::Path, thread};

use capstan_tests::process::{signal_to, with_command_line};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// A folder in memory, for what a measurement shall not wait for the disk with.
pub const MEMORY: &str = "/dev/shm";

fn prefix() -> String {
    format!("capstan-bench-{}-", std::process::id())
}

/// A folder that goes when it is dropped.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix(&prefix()).tempdir().expect("a temporary folder")
}

/// The same in memory.
pub fn folder_in_memory() -> TempDir {
    tempfile::Builder::new().prefix(&prefix()).tempdir_in(MEMORY).expect("a temporary folder in memory")
}

/// Ends by their ids the programs that belong to a folder. HAProxy outlives its driver by design; a run that went wrong must
/// not leave it behind.
pub fn end_programs_of(folder: &str) {
    for id in with_command_line(folder) {
        signal_to(id, Signal::KILL);
    }
}

/// Ends what was started when this run is interrupted or told to end.
pub fn watch_for_interrupt() {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt()).expect("the signal");
            let mut terminate = signal(SignalKind::terminate()).expect("the signal");
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        for child in children() {
            signal_to(child, Signal::KILL);
        }
        end_programs_of(&prefix());
        std::process::exit(130);
    });
}

/// Processes that this one started.
fn children() -> Vec<u32> {
    let own = std::process::id();
    let parent = |folder: &Path| -> Option<u32> {
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // pid (name) state ppid ...; the name may hold anything.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let entries = fs::read_dir("/proc").expect("/proc").map_while(Result::ok);
    let of_own = entries.filter(|entry| parent(&entry.path()) == Some(own));
    of_own.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
