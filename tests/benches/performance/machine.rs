//! What the figures were measured on, read as the run begins.

use std::{fs, process::Command, thread};

const GO_PLUGIN: &str = "golang-github-hashicorp-go-plugin-dev";
const GO_GRPC: &str = "golang-google-grpc-dev";

/// One line for each fact.
pub fn facts() -> Vec<(&'static str, String)> {
    vec![
        ("date", said("date", &["-u", "+%F %H:%M UTC"])),
        ("processor", format!("{}, {} seen by the system", field("/proc/cpuinfo", "model name"), processors())),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("load before", read("/proc/loadavg")),
        ("compiler", said("rustc", &["--version"])),
        ("rivals by", said("cc", &["--version"])),
        ("haproxy", said("haproxy", &["-v"])),
        ("gearmand", said("gearmand", &["--version"])),
        ("wrk", said("wrk", &["--version"])),
        ("go", said("go", &["version"])),
        ("go-plugin, grpc", said("dpkg-query", &["-W", "-f=${Version} ", GO_PLUGIN, GO_GRPC])),
    ]
}

/// Threads that can run at the same time.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|error| error.to_string(), |text| text.trim().to_owned())
}

fn field(path: &str, name: &str) -> String {
    read(path)
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(|value| value.trim().to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}

// wrk prints its version and ends with 1, so the status says nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program} does not run ({error}); `.ci/setup bench` installs it"));
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("").to_owned()
}
