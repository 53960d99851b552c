//! A HAProxy that is run by hand: the rival of what the driver does, and fast web servers to balance.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use capstan_tests::{free_port, process::Process, wait_for};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::scratch;

/// A running HAProxy, ended when dropped.
pub struct HaProxy {
    process: Process,
    folder: TempDir,
}

impl HaProxy {
    /// Starts a master with a worker; `{folder}` in the configuration stands for its folder. `port` is one that it binds.
    pub fn start(configuration: &str, port: u16) -> Self {
        let folder = scratch::folder();
        let path = folder.path().join("haproxy.cfg");
        fs::write(&path, configuration.replace("{folder}", &folder.path().display().to_string())).expect("its file");
        let process = Process::spawn(
            Command::new("haproxy")
                .args(["-W", "-db", "-S"])
                .arg(folder.path().join("master.sock"))
                .arg("-f")
                .arg(path)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
        .expect("haproxy starts; `make setup` installs it");
        wait_for("haproxy to listen", Duration::from_secs(10), || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { process, folder }
    }

    /// Its configuration.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("haproxy.cfg")
    }

    /// One runtime command on a connection of its own.
    pub fn command(&self, line: &str) -> String {
        ask(&self.folder.path().join("admin.sock"), line).expect("the runtime API answers")
    }

    /// Asks the master to reload. It refuses connections while it starts itself again; then it is asked again.
    pub fn reload(&self) {
        let master = self.folder.path().join("master.sock");
        wait_for("the master to take the reload", Duration::from_secs(10), || ask(&master, "reload").ok());
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // The master ends its workers at this signal; a master that is killed leaves that to them.
        self.process.signal(Signal::TERM);
        self.process.wait(Duration::from_secs(10));
    }
}

fn ask(socket: &Path, line: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    writeln!(stream, "{line}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Replaces a file as a careful administrator would: written beside, synced, renamed, the folder synced.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    let mut file = File::create(&new).expect("the new file");
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).expect("the new file is written");
    fs::rename(&new, path).expect("it takes the old one's place");
    let folder = path.parent().expect("a file has a folder");
    File::open(folder).and_then(|folder| folder.sync_all()).expect("the folder is synced");
}

/// Web servers that answer at once: one HAProxy with a port for each.
pub struct WebServers {
    _haproxy: HaProxy,
    /// Their ports.
    pub ports: Vec<u16>,
}

impl WebServers {
    /// Starts `count` of them.
    pub fn start(count: usize) -> Self {
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let mut text = String::from(
            "global\n    maxconn 4000\n    nbthread 1\ndefaults\n    mode http\n    timeout client 30s\n    timeout connect 5s\n    timeout server 30s\n",
        );
        for (number, port) in ports.iter().enumerate() {
            text += &format!(
                "frontend web{number}\n    bind 127.0.0.1:{port}\n    http-request return status 200 content-type text/plain string web{number}\n"
            );
        }
        Self { _haproxy: HaProxy::start(&text, ports[0]), ports }
    }
}
