//! Who a process is: its number alone says little, as numbers come again.

use std::fs;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for another: number, start time and boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub pid: i32,
    /// Clock ticks since boot when it started: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start_time: u64,
    pub boot_id: String,
}

/// The fields of `/proc/PID/stat` that are looked at.
struct Stat {
    state: char,
    session: i32,
    start_time: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, in brackets, may hold anything, brackets and spaces too; the last bracket ends it.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_whitespace().collect();
        let number = |field: usize| -> Option<i64> { fields.get(field - 3)?.parse().ok() };
        Some(Self {
            state: fields.first()?.chars().next()?,
            session: i32::try_from(number(6)?).ok()?,
            start_time: u64::try_from(number(22)?).ok()?,
        })
        .filter(|stat: &Self| stat.start_time > 0)
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

impl ProcessId {
    /// The process that has this number now; none when there is none or it has ended.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::of(pid).filter(Stat::is_alive)?;
        Some(Self { pid, start_time: stat.start_time, boot_id: boot_id()? })
    }

    /// It runs, and it is the same.
    pub fn is_running(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// The processes of a session that run.
pub(super) fn session_members(session: i32) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.session == session && stat.is_alive()))
        .filter_map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let line = "4711 (a) S 1 (b) R 1 4711 99 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8899 1 2 3";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.session, stat.start_time), ('R', 99, 8899));
        for broken in ["", "1 (a", "1 (a) R", "1 (a) R x y z 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"] {
            assert!(Stat::parse(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn a_recycled_number_is_another_process() {
        let own = ProcessId::of(std::process::id().try_into().unwrap()).unwrap();
        assert!(own.is_running());
        assert!(!ProcessId { start_time: own.start_time - 1, ..own.clone() }.is_running());
        assert!(!ProcessId { boot_id: "another".into(), ..own }.is_running());
    }
}
