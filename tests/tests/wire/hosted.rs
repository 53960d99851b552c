//! A registry of one driver that is a command, in a folder of its own, and everything that was logged about it.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use capstan::drivers::{
    CallOptions, DriverEntry, DriverHandle, DriverInfo, DriverProgram, Isolation, Kind, Registry, Settings,
};
use capstan_plugin_api::DriverError;
use capstan_tests::{paths, process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Deadline of a call that will be answered, and of what is waited for.
pub const LONG: Duration = Duration::from_secs(30);
/// Between a cancel and the end of the process.
pub const GRACE: Duration = Duration::from_millis(300);

/// Everything that was logged, by any test: the drivers have different names.
static LOG: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(|| {
    tracing_subscriber::fmt().json().with_writer(|| Log).init();
    Mutex::default()
});

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct Hosted {
    pub registry: Registry,
    name: String,
    folder: TempDir,
}

impl Hosted {
    /// Opens a driver with copies of these files of the repository, the first of which is its program.
    pub async fn open(name: &str, files: &[&str], arguments: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        LazyLock::force(&LOG);
        let folder = tempfile::Builder::new().prefix("wire-").tempdir_in(paths::build()).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let copies = files.iter().map(|file| {
            let copy = folder.path().join(file.rsplit('/').next().unwrap());
            fs::copy(repository.join(file), &copy).unwrap();
            copy.to_str().unwrap().to_owned()
        });
        let copies: Vec<String> = copies.collect();
        // The last argument makes its processes known by their command line.
        let token = folder.path().to_str().unwrap();
        let words = copies.iter().take(1).map(String::as_str).chain(arguments.iter().copied()).chain([token]);
        let mut entry = DriverEntry::new(Kind::LoadBalancer, name, &copies[0]);
        entry.program = DriverProgram::Command(words.map(str::to_owned).collect());
        entry.isolation = Isolation::Process;
        entry.max_concurrency = 64;
        let mut settings = Settings::new(folder.path().join("state"), folder.path());
        settings.trust_own_files = true;
        settings.probe_executable = paths::capstan();
        settings.cancel_grace = GRACE;
        settings.drivers = vec![entry];
        change(&mut settings);
        let registry = Registry::open(settings).await.unwrap();
        Self { registry, name: name.to_owned(), folder }
    }

    pub fn handle(&self) -> DriverHandle {
        let handle = self.registry.handle(Kind::LoadBalancer, &self.name);
        handle.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// What `driver list` shows of it.
    pub fn info(&self) -> DriverInfo {
        self.registry.info(Kind::LoadBalancer, &self.name).unwrap()
    }

    /// Calls a method about the device `d`, with more parameters.
    pub async fn call_with(&self, method: &str, params: Value, deadline: Duration) -> Result<Value, DriverError> {
        let options = CallOptions { deadline: Some(deadline), ..CallOptions::default() };
        let mut all = json!({ "device": "d" });
        all.as_object_mut().unwrap().extend(params.as_object().cloned().unwrap_or_default());
        self.handle().call(method, &all, options).await
    }

    pub async fn call(&self, method: &str, deadline: Duration) -> Result<Value, DriverError> {
        self.call_with(method, Value::Null, deadline).await
    }

    /// Its lines of the log.
    pub fn log(&self) -> Vec<Value> {
        let driver = format!("load_balancer.{}", self.name);
        let log = LOG.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lines = log.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let is_about = |line: &Value| {
            line["fields"]["driver"] == *driver
                || line["fields"]["message"].as_str().is_some_and(|text| text.contains(&format!("driver {driver}: ")))
        };
        lines.filter(is_about).collect()
    }

    /// How many of them contain this.
    pub fn logged(&self, text: &str) -> usize {
        let log = self.log();
        log.iter()
            .filter(|line| line["fields"]["message"].as_str().is_some_and(|message| message.contains(text)))
            .count()
    }

    pub async fn until(&self, what: &str, done: impl Fn(&DriverInfo) -> bool) {
        let end = Instant::now() + LONG;
        while !done(&self.info()) {
            assert!(Instant::now() < end, "{}: {what} in vain: {:?}", self.name, self.info());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Closes it, which leaves nothing behind.
    pub async fn close(self) {
        self.registry.close(Duration::from_secs(5)).await;
        self.assert_no_process_is_left();
    }

    pub fn assert_no_process_is_left(&self) {
        let left = process::with_command_line(self.folder.path().to_str().unwrap());
        assert!(left.is_empty(), "{}: {left:?} are left", self.name);
    }
}
