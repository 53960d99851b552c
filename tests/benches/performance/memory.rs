//! Memory and processor time of processes, as the kernel counts them (proc(5)).

use std::{fs, iter};

use capstan_tests::process;

/// Memory in MiB, from `smaps_rollup`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident, pages that are shared counted whole.
    pub rss: f64,
    /// Resident, pages that are shared counted by their share.
    pub pss: f64,
    /// Written and not shared: what goes when the process ends.
    pub private_dirty: f64,
}

impl Memory {
    /// Of one process.
    pub fn of(id: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).expect("the memory of a process");
        let field = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a figure of smaps_rollup");
            line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("kB") / 1024.0
        };
        Self { rss: field("Rss:"), pss: field("Pss:"), private_dirty: field("Private_Dirty:") }
    }

    /// Of one process and all below it.
    pub fn of_all(id: u32) -> Self {
        with_those_below(id).map(Self::of).fold(Self::default(), |sum, one| Self {
            rss: sum.rss + one.rss,
            pss: sum.pss + one.pss,
            private_dirty: sum.private_dirty + one.private_dirty,
        })
    }
}

/// The most that one process and those below it have had resident so far, in MiB: the sum of each one's own peak.
pub fn peak(id: u32) -> f64 {
    let of = |id| {
        let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak.map_or(0.0, |peak: f64| peak / 1024.0)
    };
    with_those_below(id).map(of).sum()
}

/// Processor time so far of one process and of all below it that have not ended, in nanoseconds.
pub fn processor_time(id: u32) -> u64 {
    with_those_below(id).map(processor_time_of).sum()
}

fn with_those_below(id: u32) -> impl Iterator<Item = u32> {
    iter::once(id).chain(process::below(id))
}

/// `schedstat` knows only threads that are there, but to the nanosecond; `stat` also those that have ended, in ticks of 10 ms.
fn processor_time_of(id: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let exact = threads.map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|time| time.parse().ok()).unwrap_or(0)
    });
    let exact: u64 = exact.sum();
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // pid (name) state ...; the name may hold anything. User and system time are fields 14 and 15 of proc_pid_stat(5).
    let after_name = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = after_name.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    exact.max(ticks * 10_000_000)
}
