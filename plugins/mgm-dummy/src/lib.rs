//! An API server that is a number: it always has the same count of free devices and takes every node. Faults are set for tests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use capstan_plugin_api::{
    CallContext, ConfigSchema, Driver, DriverError, ErrorCode, Host, LogLevel, MgmDriver, driver,
    mgm::{Added, NewDevice},
};
use serde::Deserialize;

/// What a method answers in place of its own answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ConfigSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The error of this code.
    AuthFailed,
    /// Likewise.
    AlreadyExists,
    /// Likewise.
    RateLimited,
    /// Likewise.
    Timeout,
    /// Likewise.
    Unavailable,
    /// `add_node` only: a node that is not accepted.
    Refused,
}

/// A fault of one method.
#[derive(Clone, Debug, Deserialize, ConfigSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What it answers.
    answer: Answer,
    /// How often, from the first call on; 0 is always.
    #[serde(default)]
    times: u32,
}

/// Keys of `[known_drivers.mgm.NAME.config]`.
#[derive(Debug, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What `get_free_count` answers, whatever was added.
    free: u32,
    /// What `is_online` answers.
    online: bool,
    /// Faults by method: `add_node = { answer = "unavailable", times = 1 }`.
    faults: BTreeMap<String, Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self { free: 5, online: true, faults: BTreeMap::new() }
    }
}

const METHODS: [&str; 4] = ["add_node", "get_free_count", "get_url", "is_online"];

/// The driver `dummy`.
pub struct Dummy {
    free: u32,
    online: bool,
    faults: Mutex<BTreeMap<String, Fault>>,
}

impl Dummy {
    /// What a method has to answer in place of its own answer, this time.
    fn fault(&self, method: &str) -> Option<Answer> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = faults.get_mut(method)?;
        let answer = fault.answer;
        match fault.times {
            0 => {}
            1 => drop(faults.remove(method)),
            _ => fault.times -= 1,
        }
        Some(answer)
    }

    fn check(&self, method: &str) -> Result<(), DriverError> {
        self.fault(method).map_or(Ok(()), |answer| Err(error(answer)))
    }
}

fn error(answer: Answer) -> DriverError {
    let code = match answer {
        Answer::AuthFailed => ErrorCode::AUTH_FAILED,
        Answer::AlreadyExists => ErrorCode::ALREADY_EXISTS,
        Answer::RateLimited => ErrorCode::RATE_LIMITED,
        Answer::Timeout => ErrorCode::TIMEOUT,
        Answer::Unavailable | Answer::Refused => ErrorCode::UNAVAILABLE,
    };
    DriverError::new(code, "The API server was told to fail.").for_operator("the key `faults` of its configuration")
}

impl Driver for Dummy {
    type Config = Config;

    fn open(config: Config, _host: Host) -> Result<Self, DriverError> {
        for (method, fault) in &config.faults {
            let key = format!("faults.{method}");
            if !METHODS.contains(&method.as_str()) {
                let known = METHODS.join(", ");
                return Err(DriverError::invalid_argument(format!(
                    "{key}: found an unknown method; expected one of {known}"
                )));
            }
            if fault.answer == Answer::Refused && method != "add_node" {
                return Err(DriverError::invalid_argument(format!(
                    "{key}.answer: found \"refused\"; only add_node refuses"
                )));
            }
        }
        Ok(Self { free: config.free, online: config.online, faults: Mutex::new(config.faults) })
    }
}

#[driver(name = "dummy", vendor = "Capstan", serial_by = "none")]
impl MgmDriver for Dummy {
    fn get_free_count(&self, _call: &CallContext) -> Result<u64, DriverError> {
        self.check("get_free_count")?;
        Ok(self.free.into())
    }

    fn add_node(&self, call: &CallContext, request: &NewDevice) -> Result<Added, DriverError> {
        let response = match self.fault("add_node") {
            Some(Answer::Refused) => return Ok(Added { accepted: false, response: Some("test refusal".into()) }),
            Some(answer) => return Err(error(answer)),
            None => "test response",
        };
        call.log(LogLevel::Info, &format!("added the node {:?} at {}", request.name, request.address));
        Ok(Added { accepted: true, response: Some(response.into()) })
    }

    fn is_online(&self, _call: &CallContext) -> Result<bool, DriverError> {
        self.check("is_online")?;
        Ok(self.online)
    }

    fn get_url(&self, _call: &CallContext) -> Result<String, DriverError> {
        self.check("get_url")?;
        Ok("Dummy Connection".to_owned())
    }
}
