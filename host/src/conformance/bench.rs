//! One open driver, and everything that it says.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use capstan_plugin_api::{DriverError, ErrorCode, Manifest};
use serde_json::Value;

use super::{Report, Subject, declared};
use crate::drivers::{CallOptions, DriverEntry, DriverHandle, DriverInfo, Isolation, Kind, Registry};

/// Time for a call that is not about time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time to close.
const CLOSE: Duration = Duration::from_secs(10);
/// Lines and answers that are kept to be looked through.
const MOST_SAID: usize = 20_000;

/// An open driver.
pub(super) struct Bench {
    registry: Registry,
    handle: DriverHandle,
    kind: Kind,
    name: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// Opens the driver in a mode, as an entry of this name, with a state folder of that; a failure is reported and there is no bench.
    pub async fn open(
        subject: &Subject,
        name: &str,
        folder: &str,
        mode: Isolation,
        config: &Value,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let said = Arc::<Mutex<Vec<String>>>::default();
        let mut settings =
            subject.settings(folder, vec![DriverEntry { name: name.to_owned(), ..subject.entry(mode, config) }]);
        let hook = Arc::clone(&said);
        settings.on_log = Some(Arc::new(move |line: &str| keep(&hook, line)));
        let start = Instant::now();
        let registry = match Registry::open(settings).await {
            Ok(registry) => registry,
            Err(failed) => {
                report.fail("load", failed.to_string());
                return None;
            }
        };
        let (kind, name) = (subject.entry.kind, name.to_owned());
        match registry.handle(kind, &name) {
            Ok(handle) => {
                let took = start.elapsed().as_secs_f64() * 1e3;
                report.pass("load", format!("from its file to its first health in {took:.1} ms"));
                if subject.entry.file().extension().is_none_or(|extension| extension != "so") {
                    report.judge("methods", declared::methods(subject, &handle.manifest()));
                }
                Some(Self { registry, handle, kind, name, said })
            }
            Err(error) => {
                report.fail("load", error.to_string());
                None
            }
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn manifest(&self) -> Arc<Manifest> {
        self.handle.manifest()
    }

    pub fn handle(&self) -> &DriverHandle {
        &self.handle
    }

    /// How the host sees it.
    pub fn info(&self) -> Option<DriverInfo> {
        self.registry.info(self.kind, &self.name).ok()
    }

    /// Calls a method, listed or not.
    pub async fn call(&self, method: &str, params: &Value) -> Result<Value, DriverError> {
        self.call_within(method, params, PATIENCE).await
    }

    pub async fn call_within(&self, method: &str, params: &Value, time: Duration) -> Result<Value, DriverError> {
        let options = CallOptions {
            deadline: Some(time),
            request_id: "conformance".to_owned(),
            is_unlisted: true,
            ..CallOptions::default()
        };
        let answer = self.handle.call::<_, Value>(method, params, options).await;
        keep(
            &self.said,
            &match &answer {
                Ok(answer) => answer.to_string(),
                Err(error) => format!("{} {} {}", error.code, error.message, error.operator_message),
            },
        );
        answer
    }

    /// What the driver has logged, printed and answered.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It did not crash, hang or lose a thread; else what happened.
    pub fn is_whole(&self) -> Result<(), String> {
        let Some(info) = self.info() else { return Err("it is gone".to_owned()) };
        if info.restarts > 0 || !info.ends.is_empty() {
            let ends: Vec<String> = info.ends.iter().map(|(end, count)| format!("{end} {count} times")).collect();
            return Err(format!("its process ended: {}", ends.join(", ")));
        }
        if info.lost_threads > 0 {
            return Err(format!("{} of its threads did not come back", info.lost_threads));
        }
        Ok(())
    }

    pub async fn close(self, report: &mut Report<'_>) {
        let start = Instant::now();
        let whole = self.is_whole();
        self.registry.close(CLOSE).await;
        let took = start.elapsed();
        let closed =
            if took >= CLOSE { Err(format!("`close` did not return within {} s", CLOSE.as_secs())) } else { whole };
        report.judge("close", closed.map(|()| format!("in {:.1} ms", took.as_secs_f64() * 1e3)));
    }
}

fn keep(said: &Mutex<Vec<String>>, line: &str) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() < MOST_SAID {
        said.push(line.to_owned());
    }
}

/// An error that a driver may give for a backend that is not there.
pub(super) fn is_for_want_of_a_backend(error: &DriverError) -> bool {
    [ErrorCode::UNAVAILABLE, ErrorCode::AUTH_FAILED, ErrorCode::TIMEOUT].contains(&error.code)
}
