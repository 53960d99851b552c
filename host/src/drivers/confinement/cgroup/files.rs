//! The files of a control group.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// Writes a value; the kernel takes it in one piece or refuses it.
pub(super) fn write(folder: &Path, file: &str, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(folder.join(file))?.write_all(value.as_bytes())
}

/// As [`write()`], with a line for the operator in place of the error.
pub(super) fn set(folder: &Path, file: &str, value: &str) -> Result<(), String> {
    write(folder, file, value).map_err(|error| format!("{}/{file} does not take {value} ({error})", folder.display()))
}

/// The processes of the group itself, as far as this process can see them.
pub(super) fn processes(folder: &Path) -> io::Result<Vec<i32>> {
    Ok(fs::read_to_string(folder.join("cgroup.procs"))?
        .lines()
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect())
}

/// The words of a file, such as names of controllers; none when there is no such file.
pub(super) fn words(folder: &Path, file: &str) -> Vec<String> {
    fs::read_to_string(folder.join(file)).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// A figure of a file of lines `NAME NUMBER`.
pub(super) fn figure(folder: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
