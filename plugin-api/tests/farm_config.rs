//! What a cloud driver is opened with: an entry of the farm, or its settings alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a suite stops where something is wrong")]

use capstan_plugin_api::{ConfigSchema, DriverError, ErrorCode, cloud::FarmConfig, schema::Schema};
use serde::Deserialize;
use serde_json::{Value, json};

/// A cloud.
#[derive(Debug, Deserialize, ConfigSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where it is.
    endpoint: String,
    #[serde(default)]
    insecure: bool,
}

fn read(config: Value) -> Result<Settings, DriverError> {
    serde_json::from_value::<FarmConfig<Settings>>(config).unwrap().settings()
}

#[test]
fn settings_stand_in_the_farms_entry_or_at_the_top() {
    let entry = json!({ "user": "u", "password": "p", "extra_params": { "endpoint": "e", "insecure": true } });
    assert!(read(entry).unwrap().insecure);
    assert_eq!(read(json!({ "user": "u", "endpoint": "e" })).unwrap().endpoint, "e");
}

#[test]
fn settings_in_both_places_or_unknown_or_missing_are_refused_by_name() {
    for (config, words) in [
        (json!({ "endpoint": "e", "extra_params": { "endpoint": "e" } }), "endpoint stands beside extra_params"),
        (json!({ "endpoint": "e", "end": 1 }), "unknown field `end`"),
        (json!({}), "missing field `endpoint`"),
    ] {
        let error = read(config).unwrap_err();
        assert_eq!(error.code, ErrorCode::INVALID_ARGUMENT);
        assert!(error.message.contains(words), "{error}");
    }
}

#[test]
fn the_schema_has_both_places_and_demands_neither() {
    let Schema::Object(object) = FarmConfig::<Settings>::SCHEMA else { panic!("an object") };
    let names: Vec<&str> = object.fields.iter().map(|field| field.name).collect();
    assert_eq!(names, ["user", "password", "extra_params", "endpoint", "insecure"]);
    assert!(object.fields.iter().all(|field| !field.required));
    let Schema::Object(settings) = object.fields[2].schema else { panic!("an object") };
    assert!(settings.fields[0].required);
    assert_eq!(object.description, "A cloud.");
}
