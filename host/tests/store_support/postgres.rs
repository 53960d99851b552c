//! A real PostgreSQL on loopback, one for each test process, with a database for each test.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Where Debian keeps the server's programs: it has several versions side by side.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A server of its own. It dies with this value, and with the test process.
pub struct Server {
    port: u16,
    data: PathBuf,
    child: Option<Child>,
    _folder: tempfile::TempDir,
}

/// An empty database on the server that the tests of this process share.
pub struct Database {
    name: String,
    port: u16,
}

impl Database {
    pub fn new() -> Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Server::start(&[])).database()
    }

    pub fn url(&self) -> String {
        format!("postgres://capstan@127.0.0.1:{}/{}", self.port, self.name)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements past the store.
    pub fn sql(&self, sql: &str) -> String {
        psql(self.port, &self.name, sql)
    }
}

impl Server {
    /// Starts one with further settings, and waits until it answers.
    pub fn start(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("capstan-postgres").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = folder.path().join("data");
        copy_template(&data);
        let mut server = Self { port: free_port(), data, child: None, _folder: folder };
        server.run(settings);
        server
    }

    /// Starts the server on its data again.
    pub fn run(&mut self, settings: &[&str]) {
        let mut arguments = vec![
            "-D".to_owned(),
            self.data.display().to_string(),
            "-p".to_owned(),
            self.port.to_string(),
            "-k".to_owned(),
            String::new(),
        ];
        let always = ["listen_addresses=127.0.0.1", "fsync=on", "shared_buffers=32MB", "max_connections=150"];
        for setting in always.iter().chain(settings) {
            arguments.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        self.child = Some(spawn("postgres", arguments));
        let end = Instant::now() + Duration::from_secs(30);
        while try_psql(self.port, "postgres", "SELECT 1").is_err() {
            assert!(Instant::now() < end, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it: `QUIT` as a crash would, `INT` in order, ending the connections.
    pub fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            let id = Pid::from_raw(child.id().cast_signed()).unwrap();
            let _gone_already = kill_process(id, signal);
            let _ended = child.wait();
        }
    }

    pub fn database(&self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        psql(self.port, "postgres", &format!("CREATE DATABASE {name}"));
        Database { name, port: self.port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts a file into the data directory, for the server's eyes only.
    pub fn put(&self, name: &str, content: &str) {
        let path = self.data.join(name);
        fs::write(&path, content).unwrap();
        own(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// From now on lets a role in with its password only.
    pub fn demand_password(&self, role: &str) {
        let rules = fs::read_to_string(self.data.join("pg_hba.conf")).unwrap();
        self.put("pg_hba.conf", &format!("host all {role} 127.0.0.1/32 scram-sha-256\n{rules}"));
        psql(self.port, "postgres", "SELECT pg_reload_conf()");
        let loaded = || {
            psql(self.port, "postgres", "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'scram-sha-256'")
        };
        assert_eq!(loaded(), "1");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Signal::QUIT);
    }
}

/// The server refuses to run as root: Debian's package brings a user for it.
fn command(program: &str) -> Command {
    let path = program_path(program);
    if !rustix::process::geteuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT", "--"]).arg(path);
    command
}

/// The newest version that is there.
fn program_path(program: &str) -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    newest.map_or_else(|| PathBuf::from(program), |version| Path::new(DEBIAN).join(format!("{version}/bin/{program}")))
}

/// A program to start, its arguments, and where to hand the process over.
type Order = (&'static str, Vec<String>, mpsc::Sender<Child>);

/// Starts a program that dies with this process. What `--pdeathsig` goes by is the thread that started it, so that thread stays.
fn spawn(program: &'static str, arguments: Vec<String>) -> Child {
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (program, arguments, reply) in orders {
                let mut command = command(program);
                command
                    .args(arguments)
                    .current_dir("/")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                reply.send(command.spawn().expect("postgres starts; `make setup` installs it")).unwrap();
            }
        });
        sender
    });
    let (reply, child) = mpsc::channel();
    starter.send((program, arguments, reply)).unwrap();
    child.recv().unwrap()
}

/// A fresh cluster is made once and copied: making one takes seconds.
fn copy_template(data: &Path) {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres-template");
    let lock = fs::File::create(kept.with_extension("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    if !kept.join("PG_VERSION").exists() {
        let _left_half_made = fs::remove_dir_all(&kept);
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let fresh = folder.path().join("data");
        fs::create_dir(&fresh).unwrap();
        own(&fresh);
        // A collation that differs from the order of bytes: "a" before "B".
        let collation = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en"];
        let mut initdb = command("initdb");
        initdb.args(["-U", "capstan", "-A", "trust", "-E", "UTF8", "--no-sync", "-D"]).arg(&fresh).args(collation);
        let output = initdb.current_dir("/").output().expect("initdb starts; `make setup` installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        copy(&fresh, &kept);
    }
    copy(&kept, data);
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

fn own(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let line = users.lines().find(|line| line.starts_with("postgres:")).expect("`make setup` installs PostgreSQL");
        let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
        chown(path, Some(ids[0]), Some(ids[1])).unwrap();
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

fn psql(port: u16, database: &str, sql: &str) -> String {
    try_psql(port, database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn try_psql(port: u16, database: &str, sql: &str) -> Result<String, String> {
    let port = port.to_string();
    let output = Command::new(program_path("psql"))
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "capstan", "-d", database, "-X", "-q", "-A", "-t", "-c", sql])
        .output()
        .expect("psql starts; `make setup` installs it");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
