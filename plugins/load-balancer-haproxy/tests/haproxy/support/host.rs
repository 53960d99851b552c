//! A host in as few lines as the boundary allows: state in memory, programs as children in groups of their own.
#![allow(unsafe_code)]

use std::{
    collections::{BTreeMap, HashMap},
    fs::OpenOptions,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    DriverError, ErrorCode, ProgramSpec,
    abi::{self, Bytes, DriverTable, HostContext, HostTable, Instance, Reply},
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

/// The host. Outlives the instances, as a daemon outlives its drivers; its programs end with it.
#[derive(Default)]
pub struct TestHost {
    state: Mutex<BTreeMap<String, (Value, u64)>>,
    programs: Mutex<HashMap<String, Child>>,
    pub log: Mutex<Vec<String>>,
}

impl TestHost {
    fn call(&self, service: &str, body: &Value) -> Result<Value, DriverError> {
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let mut state = self.state.lock().unwrap();
        match service {
            "state.get" => Ok(state
                .get(&text("key"))
                .map_or(Value::Null, |(value, version)| json!({ "value": value, "version": version }))),
            "state.put" => {
                let slot = state.entry(text("key")).or_insert((Value::Null, 0));
                *slot = (body["value"].clone(), slot.1 + 1);
                Ok(json!(slot.1))
            }
            "state.delete" => {
                state.remove(&text("key"));
                Ok(Value::Null)
            }
            "program.start" => self.start(&serde_json::from_value(body.clone()).unwrap()),
            "program.find" => {
                Ok(self.find(&text("name")).map_or(Value::Null, |pid| json!({ "name": text("name"), "pid": pid })))
            }
            "program.stop" => {
                self.stop(&text("name"), Signal::TERM);
                Ok(Value::Null)
            }
            _ => Err(DriverError::new(ErrorCode::NOT_SUPPORTED, format!("no service {service}"))),
        }
    }

    fn start(&self, spec: &ProgramSpec) -> Result<Value, DriverError> {
        if let Some(pid) = self.find(&spec.name) {
            return Ok(json!({ "name": spec.name, "pid": pid, "found": true }));
        }
        let output = OpenOptions::new().create(true).append(true).open(spec.output.as_ref().unwrap()).unwrap();
        let child = Command::new(&spec.command[0])
            .args(&spec.command[1..])
            .env_clear()
            .envs(&spec.environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(|error| DriverError::internal(format!("{} cannot be run: {error}", spec.command[0])))?;
        let pid = child.id();
        self.programs.lock().unwrap().insert(spec.name.clone(), child);
        Ok(json!({ "name": spec.name, "pid": pid }))
    }

    /// The master's process id.
    pub fn find(&self, name: &str) -> Option<u32> {
        let mut programs = self.programs.lock().unwrap();
        let child = programs.get_mut(name)?;
        if child.try_wait().unwrap().is_some() {
            programs.remove(name);
            return None;
        }
        Some(child.id())
    }

    /// Ends a program and its workers by a signal to its group, and waits for it.
    pub fn stop(&self, name: &str, signal: Signal) {
        let Some(mut child) = self.programs.lock().unwrap().remove(name) else { return };
        end(&mut child, signal);
    }

    pub fn programs(&self) -> usize {
        self.programs.lock().unwrap().len()
    }

    pub fn state(&self, key: &str) -> Option<Value> {
        self.state.lock().unwrap().get(key).map(|(value, _)| value.clone())
    }
}

fn end(child: &mut Child, signal: Signal) {
    let group = Pid::from_child(child);
    let _gone = kill_process_group(group, signal);
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _gone = kill_process_group(group, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        for child in self.programs.lock().unwrap().values_mut() {
            end(child, Signal::KILL);
        }
    }
}

unsafe extern "C" fn host_call(context: *mut HostContext, _call: u64, method: Bytes, body: Bytes) -> Reply {
    // SAFETY: the context is the host that `Driver` keeps alive, and the driver lends both for the call.
    let (host, method, body) = unsafe { (&*context.cast::<TestHost>(), method.as_slice(), body.as_slice()) };
    let body = serde_json::from_slice(body).unwrap();
    match host.call(std::str::from_utf8(method).unwrap(), &body) {
        Ok(value) => Reply::new(abi::STATUS_OK, value.to_string().into_bytes()),
        Err(error) => Reply::error(&error),
    }
}

unsafe extern "C" fn host_log(context: *mut HostContext, _: u64, level: u32, _: Bytes, message: Bytes, _: Bytes) {
    // SAFETY: as in `host_call`.
    let (host, message) = unsafe { (&*context.cast::<TestHost>(), message.as_slice()) };
    host.log.lock().unwrap().push(format!("{level} {}", String::from_utf8_lossy(message)));
}

unsafe extern "C" fn host_cancelled(_: *mut HostContext, _: u64) -> u32 {
    0
}

/// An opened instance.
pub struct Driver {
    table: &'static DriverTable,
    instance: *mut Instance,
    next: AtomicU64,
    _host: Arc<TestHost>,
}

// SAFETY: `DriverTable` promises that an instance may be called from any thread.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

impl Driver {
    pub fn open(host: &Arc<TestHost>, config: &Value) -> Result<Self, DriverError> {
        // SAFETY: the entry returns a static table.
        let table = unsafe { &*capstan_driver_epoch_1() };
        let host_table = HostTable {
            magic: abi::MAGIC,
            epoch: abi::EPOCH,
            size: u32::try_from(size_of::<HostTable>()).unwrap(),
            context: Arc::as_ptr(host).cast_mut().cast(),
            call: host_call,
            log: host_log,
            cancelled: host_cancelled,
        };
        let config = config.to_string();
        let mut instance = std::ptr::null_mut();
        // SAFETY: all three live for the call; the host lives as long as the instance.
        let reply = unsafe { (table.open)(&host_table, Bytes::of(config.as_bytes()), &mut instance) };
        // A driver keeps panics to itself. Linked into a test, it would keep the test's own failures as well.
        static SPEAK_AGAIN: Once = Once::new();
        SPEAK_AGAIN.call_once(|| drop(std::panic::take_hook()));
        outcome(reply)?;
        Ok(Self { table, instance, next: AtomicU64::new(1), _host: Arc::clone(host) })
    }

    pub fn call(&self, method: &str, params: &Value) -> Result<Value, DriverError> {
        self.call_within(method, params, Duration::from_secs(30))
    }

    pub fn call_within(&self, method: &str, params: &Value, time: Duration) -> Result<Value, DriverError> {
        let body = json!({ "deadline_ms": u64::try_from(time.as_millis()).unwrap(), "params": params }).to_string();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the instance is open until drop, and both byte strings live for the call.
        let reply =
            unsafe { (self.table.invoke)(self.instance, id, Bytes::of(method.as_bytes()), Bytes::of(body.as_bytes())) };
        outcome(reply)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: opened, closed once, and `&mut self` says that no call is out.
        unsafe { (self.table.close)(self.instance) };
    }
}

fn outcome(reply: Reply) -> Result<Value, DriverError> {
    let status = reply.status;
    // SAFETY: it just came over the boundary.
    let body = unsafe { reply.body.take() };
    if status == abi::STATUS_OK {
        return Ok(serde_json::from_slice(&body).unwrap());
    }
    Err(serde_json::from_slice(&body).unwrap())
}
