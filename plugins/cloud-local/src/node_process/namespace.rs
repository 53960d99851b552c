//! A network of its own for a node: a network namespace, a pair of virtual interfaces, and routes between node and machine.
//!
//! A process that only sleeps holds the namespace, so that it stays when the node's program ends and goes when the last of the node's
//! processes has gone, the interfaces with it. It is made by the programs of iproute2 and util-linux, as an administrator would.

use std::{
    fs, io,
    net::Ipv4Addr,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const IP: &str = "/usr/sbin/ip";
const NSENTER: &str = "/usr/bin/nsenter";
const UNSHARE: &str = "/usr/bin/unshare";
const SLEEP: &str = "/usr/bin/sleep";
/// How long the holder may take to be in its namespace.
const BEGIN: Duration = Duration::from_secs(10);

/// A node's network, while the holder lives.
pub(super) struct Namespace {
    /// `/proc/PID/ns/net` of the holder.
    file: String,
}

impl Namespace {
    /// Makes the network of the node with this id and address; `gateway` is this machine's address in it.
    pub fn make(id: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<Self> {
        // At most 15 bytes.
        let outside = format!("cl-{id}");
        // Of a run before, whose namespace the kernel may not have cleared yet.
        let _there_may_be_none = ip(&["link", "delete", &outside]);
        let holder = Command::new(UNSHARE)
            .args(["--net", "--", SLEEP, "infinity"])
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("{UNSHARE} cannot be started: {error}")))?;
        let namespace = Self { file: format!("/proc/{}/ns/net", holder.id()) };
        let own = fs::read_link("/proc/self/ns/net")?;
        let until = Instant::now() + BEGIN;
        loop {
            match fs::read_link(&namespace.file) {
                Ok(link) if link != own => break,
                Ok(_) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                // It ended, as it may not.
                _ => {
                    return Err(io::Error::other(
                        "no network namespace can be made: that takes root, or CAP_SYS_ADMIN",
                    ));
                }
            }
        }
        let (host, machine) = (format!("{address}/32"), format!("{gateway}/32"));
        let (holder, to) = (holder.id().to_string(), gateway.to_string());
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &holder])?;
        ip(&["address", "replace", &machine, "dev", "lo"])?;
        ip(&["link", "set", &outside, "up"])?;
        ip(&["route", "replace", &host, "dev", &outside, "src", &to])?;
        for words in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", &host, "dev", "eth0"],
            &["link", "set", "eth0", "up"],
            &["route", "add", &machine, "dev", "eth0", "scope", "link"],
            &["route", "add", "default", "via", &to],
        ] {
            run(&[
                &namespace.enter()[..],
                &[IP.to_owned()],
                &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(),
            ]
            .concat())?;
        }
        Ok(namespace)
    }

    /// What stands before a command that is to run in it. It becomes the command, so the process stays the same.
    pub fn enter(&self) -> Vec<String> {
        vec![NSENTER.to_owned(), format!("--net={}", self.file), "--".to_owned()]
    }
}

fn ip(words: &[&str]) -> io::Result<()> {
    run(&[&[IP], words].concat())
}

fn run<T: AsRef<str>>(words: &[T]) -> io::Result<()> {
    let shown = || words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
    let (program, arguments) = words.split_first().ok_or_else(|| io::Error::other("no program"))?;
    let output = Command::new(program.as_ref())
        .args(arguments.iter().map(AsRef::as_ref))
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::other(format!("{}: {error}", shown())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {}", shown(), said.split_whitespace().collect::<Vec<_>>().join(" "))))
}
