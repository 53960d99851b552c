//! Stages open and health of an instance in the daemon's own process.

use std::{
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SendError, sync_channel},
    },
    thread,
    time::Duration,
};

use capstan_plugin_api::abi::DriverTable;

use super::{
    DriverEntry, Settings,
    boundary::{HostSide, Instance},
    error::spoken,
    error::{Failure, Stage, one_line},
    executor::{Answer, interpret},
    host_services::HostServices,
    in_process::read_health,
};

/// What a thread of its own answers within a time; what comes later goes to `late`.
fn within<T: Send + 'static>(
    name: &str,
    time: Duration,
    run: impl FnOnce() -> T + Send + 'static,
    late: impl FnOnce(T) + Send + 'static,
) -> Result<T, String> {
    let (sender, receiver) = sync_channel(0);
    let body = move || {
        if let Err(SendError(value)) = sender.send(run()) {
            late(value);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|error| format!("no thread ({error})"))?;
    receiver.recv_timeout(time).map_err(|error| match error {
        RecvTimeoutError::Timeout => format!("no answer within {} s", time.as_secs_f32()),
        RecvTimeoutError::Disconnected => "a thread that ended without an answer".to_owned(),
    })
}

pub(super) fn open(
    settings: &Settings,
    entry: &DriverEntry,
    table: DriverTable,
    services: Arc<HostServices>,
) -> Result<Instance, Failure> {
    let refuse = |found: String| {
        Failure::new(
            Stage::Open,
            one_line(&found),
            "an open instance",
            "correct the driver's configuration or ask its vendor",
        )
    };
    let config = serde_json::to_vec(&entry.config).map_err(|error| refuse(error.to_string()))?;
    let host: Arc<dyn HostSide> = Arc::clone(&services) as _;
    let run = move || Instance::open(table, host, &config);
    let late = |opened| {
        if let Ok(instance) = opened {
            Instance::close(instance);
        }
    };
    let name = entry.full_name();
    let instance = within(&name, settings.open_timeout, run, late)
        .inspect_err(|_| services.end())
        .map_err(refuse)?
        .map_err(|answered| match interpret("open", answered, &mut false) {
            Ok(Answer::Done(_)) => refuse("a success without an instance".to_owned()),
            Ok(Answer::Pending(_)) => refuse("a pending answer, which `open` cannot give".to_owned()),
            Err(error) => refuse(spoken(&error)),
        })?;
    health(settings, &name, instance)
}

fn health(settings: &Settings, name: &str, instance: Instance) -> Result<Instance, Failure> {
    let refuse = |found: String| {
        Failure::new(
            Stage::Health,
            one_line(&found),
            "a healthy instance",
            "correct what it names, then `capstan driver reload`",
        )
    };
    let run = move || {
        let health = read_health(instance.health());
        (instance, health)
    };
    // An instance that answers late is closed then; one that never does stays open, with its thread.
    let late = |(instance, _): (Instance, _)| instance.close();
    let (instance, health) = within(name, settings.health_timeout, run, late).map_err(refuse)?;
    match health {
        Ok(_) => Ok(instance),
        Err(error) => {
            let closing = within(name, settings.health_timeout, move || instance.close(), |()| ());
            let left_open = closing.err().map(|fault| format!("; closing it: {fault}")).unwrap_or_default();
            Err(refuse(format!("{}{left_open}", spoken(&error))))
        }
    }
}
