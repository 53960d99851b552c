//! The manifest that the attribute writes: the author's names, methods, secrets and schema, as the host reads them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(unsafe_code, reason = "the test reads an exported symbol")]
#![allow(dead_code, reason = "the configuration is read by nobody but the derive")]

use std::collections::{BTreeMap, HashMap};

use capstan_plugin_api::{
    CallContext, ConfigSchema, Driver, DriverError, Host, LoadBalancerDriver, Manifest, Secret, SerialBy,
    abi::DriverTable,
    driver,
    load_balancer::{Algorithm, Server, Status},
};
use serde::Deserialize;
use serde_json::json;

/// How the driver is set up,
/// in "two" lines with a \ in them.
#[derive(Deserialize, ConfigSchema)]
#[serde(rename_all = "kebab-case")]
struct Config {
    /// Where it listens.
    bind_address: std::net::IpAddr,
    #[serde(default)]
    port: u16,
    offset: i8,
    ratio: Option<f64>,
    r#type: Mode,
    #[serde(rename = "SECOND")]
    second: Option<Mode>,
    token: Option<Secret>,
    /// The account.
    account: Account,
    accounts: Vec<Account>,
    #[serde(default)]
    passwords: BTreeMap<String, Secret>,
    extra: HashMap<String, serde_json::Value>,
    #[serde(skip)]
    cache: Option<NotASchema>,
}

struct NotASchema;

/// An account.
#[derive(Default, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
struct Account {
    user: String,
    password: Secret,
    paths: Vec<Option<std::path::PathBuf>>,
}

#[derive(Deserialize, ConfigSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    TcpOnly,
    Http,
    #[serde(rename = "GALERA")]
    Galera,
}

struct Sample;

impl Driver for Sample {
    type Config = Config;

    fn open(_config: Config, _host: Host) -> Result<Self, DriverError> {
        Ok(Self)
    }
}

#[driver(name = "sample-1", vendor = "A \"vendor\"", description = "Größe, 大小")]
impl LoadBalancerDriver for Sample {
    fn init(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
    fn add_server(&self, _call: &CallContext, _server: &Server) -> Result<(), DriverError> {
        Ok(())
    }
    fn set_protocol(&self, _call: &CallContext, _protocol: &str, _port: Option<u16>) -> Result<(), DriverError> {
        Ok(())
    }
    fn set_algorithm(&self, _call: &CallContext, _protocol: &str, _algorithm: Algorithm) -> Result<(), DriverError> {
        Ok(())
    }
    fn create(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
    fn suspend(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
    fn enable(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
    fn delete(&self, _call: &CallContext) -> Result<(), DriverError> {
        Ok(())
    }
    fn status(&self, _call: &CallContext) -> Result<Status, DriverError> {
        Ok(Status::default())
    }
}

unsafe extern "C" {
    fn capstan_driver_epoch_1() -> *const DriverTable;
}

fn manifest() -> Manifest {
    // SAFETY: the attribute made both.
    let bytes = unsafe { ((*capstan_driver_epoch_1()).describe)().as_slice() };
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn it_says_what_the_author_said() {
    let manifest = manifest();
    assert_eq!((manifest.name.as_str(), manifest.vendor.as_str()), ("sample-1", "A \"vendor\""));
    assert_eq!((manifest.description.as_str(), manifest.version.as_str()), ("Größe, 大小", env!("CARGO_PKG_VERSION")));
    assert_eq!((manifest.kind.as_str(), manifest.interface.as_str()), ("load_balancer", "load_balancer/1"));
    assert_eq!((manifest.epoch, manifest.panic.as_str(), manifest.serial_by), (1, "unwind", SerialBy::Device));
    assert!(manifest.target.contains("linux"), "{}", manifest.target);
}

#[test]
fn methods_are_the_wires_and_calls_the_authors() {
    let manifest = manifest();
    assert_eq!(manifest.methods, ["apply", "observe", "suspend", "enable", "delete", "validate", "status"]);
    let calls =
        ["init", "add_server", "set_protocol", "set_algorithm", "create", "suspend", "enable", "delete", "status"];
    assert_eq!(manifest.calls, calls);
    assert!(manifest.has("status") && !manifest.has("statistics"));
}

#[test]
fn secrets_are_named_wherever_they_are() {
    assert_eq!(manifest().secrets, ["token", "account.password", "accounts.*.password", "passwords.*"]);
}

#[test]
fn the_schema_follows_the_struct_and_serde() {
    let secret = json!({ "type": "string", "writeOnly": true, "x-capstan-secret": true });
    let account = json!({
        "type": "object",
        "description": "An account.",
        "properties": {
            "user": { "type": "string" },
            "password": secret,
            "paths": { "type": "array", "items": { "type": "string" } },
        },
        "required": [],
        "additionalProperties": false,
    });
    let mode = json!({ "type": "string", "enum": ["tcp_only", "http", "GALERA"] });
    let expected = json!({
        "type": "object",
        "description": "How the driver is set up, in \"two\" lines with a \\ in them.",
        "properties": {
            "bind-address": { "description": "Where it listens.", "allOf": [{ "type": "string" }] },
            "port": { "type": "integer", "minimum": 0, "maximum": 65535 },
            "offset": { "type": "integer", "minimum": -128, "maximum": 127 },
            "ratio": { "type": "number" },
            "type": mode,
            "SECOND": mode,
            "token": secret,
            "account": { "description": "The account.", "allOf": [account] },
            "accounts": { "type": "array", "items": account },
            "passwords": { "type": "object", "additionalProperties": secret },
            "extra": { "type": "object", "additionalProperties": true },
        },
        "required": ["bind-address", "offset", "type", "account", "accounts", "extra"],
        "additionalProperties": false,
    });
    assert_eq!(manifest().config_schema, expected);
}

/// What the schema calls required is what serde requires, and no more.
#[test]
fn serde_reads_what_the_schema_allows() {
    let least =
        json!({ "bind-address": "::1", "offset": -1, "type": "GALERA", "account": {}, "accounts": [{}], "extra": {} });
    serde_json::from_value::<Config>(least.clone()).unwrap();
    for required in manifest().config_schema["required"].as_array().unwrap() {
        let mut less = least.clone();
        less.as_object_mut().unwrap().remove(required.as_str().unwrap());
        assert!(serde_json::from_value::<Config>(less).is_err(), "{required} is required");
    }
}

#[test]
fn an_older_host_reads_a_later_manifest() {
    let later =
        br#"{"name":"n","version":"1","kind":"cloud","interface":"cloud/1","target":"t","epoch":1,"colour":"red"}"#;
    let read: Manifest = serde_json::from_slice(later).unwrap();
    assert_eq!((read.panic.as_str(), read.serial_by, read.config_schema.is_null()), ("none", SerialBy::Instance, true));
    let words =
        br#"{"name":"n","version":"1","kind":"cloud","interface":"cloud/1","target":"t","epoch":1,"serial_by":"rack"}"#;
    assert_eq!(serde_json::from_slice::<Manifest>(words).unwrap().serial_by, SerialBy::Instance);
    for (known, word) in [(SerialBy::Device, "device"), (SerialBy::Instance, "instance"), (SerialBy::None, "none")] {
        assert_eq!(serde_json::from_value::<SerialBy>(word.into()).unwrap(), known);
        assert_eq!(serde_json::to_value(known).unwrap(), word);
    }
}
