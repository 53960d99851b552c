//! The bodies of the device API. Source: libra's admin API v1 and the pool manager that spoke to it.

use capstan_plugin_api::{
    ConfigSchema,
    mgm::{Device, NewDevice, UpdateDevice, Usage},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Which body registers a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ConfigSchema)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// `name` and `address`: libra until December 2012.
    Seed,
    /// `name`, `publicIpAddr`, `floatingIpAddr`, `az` and `type`: every later one.
    #[default]
    Final,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Registration<'a> {
    Seed {
        name: &'a str,
        address: &'a str,
    },
    Final {
        name: &'a str,
        #[serde(rename = "publicIpAddr")]
        public: &'a str,
        #[serde(rename = "floatingIpAddr")]
        floating: &'a str,
        az: u32,
        #[serde(rename = "type")]
        kind: &'a str,
    },
}

/// The body of `POST /devices`.
pub(crate) fn registration(generation: Generation, device: &NewDevice) -> Vec<u8> {
    let NewDevice { name, address, floating_address, az, kind } = device;
    let floating = floating_address.as_ref().unwrap_or(address);
    written(&match generation {
        Generation::Seed => Registration::Seed { name, address },
        Generation::Final => Registration::Final { name, public: address, floating, az: *az, kind },
    })
}

#[derive(Serialize)]
struct Status<'a> {
    status: &'a str,
    #[serde(rename = "statusDescription")]
    description: &'a str,
}

/// The body of `PUT /devices/ID`.
pub(crate) fn status(update: &UpdateDevice) -> Vec<u8> {
    written(&Status { status: &update.status, description: &update.description })
}

/// Structs of texts and numbers are always JSON.
fn written(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

/// `{"total", "free", "taken"}`; the error says what was found.
pub(crate) fn usage(body: &Value) -> Result<Usage, String> {
    let count = |key: &str| {
        body[key].as_u64().ok_or_else(|| format!("found {} as {key:?}; expected a count", shape(&body[key])))
    };
    // A server is believed about what it has free, which is what its pool is filled by; the rest is for people.
    let free = count("free")?;
    let taken = count("taken").unwrap_or_default();
    Ok(Usage { total: count("total").unwrap_or(free.saturating_add(taken)), free, taken })
}

/// `{"devices": [...]}`.
pub(crate) fn devices(body: &Value) -> Result<Vec<Device>, String> {
    let Some(devices) = body["devices"].as_array() else {
        return Err(format!("found {} as \"devices\"; expected a list", shape(&body["devices"])));
    };
    devices.iter().map(device).collect()
}

/// One device. Its id is a number on libra's wire and a text elsewhere; fields without a place of their own are kept.
pub(crate) fn device(body: &Value) -> Result<Device, String> {
    let Some(fields) = body.as_object() else { return Err(format!("found {} as a device", shape(body))) };
    let mut extra: Map<String, Value> = fields.clone();
    let id = match extra.remove("id") {
        Some(Value::String(id)) if !id.is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        found => return Err(format!("found {} as the \"id\" of a device", shape(&found.unwrap_or_default()))),
    };
    let mut text = |key: &str| match extra.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(found) => Err(format!("found {} as {key:?} of the device {id:?}; expected a text", shape(&found))),
    };
    let name = text("name")?.unwrap_or_default();
    let status = text("status")?.unwrap_or_default();
    let address = match text("publicIpAddr")? {
        Some(address) => address,
        None => text("address")?.unwrap_or_default(),
    };
    Ok(Device { id, name, address, status, extra })
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number of the wrong kind",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_generations_have_exactly_their_keys() {
        let device = NewDevice {
            name: "n".into(),
            address: "15.1.2.3".into(),
            az: 2,
            kind: "basename: b, image: i".into(),
            ..NewDevice::default()
        };
        let body = |generation, device: &_| String::from_utf8(registration(generation, device)).unwrap();
        assert_eq!(body(Generation::Seed, &device), r#"{"name":"n","address":"15.1.2.3"}"#);
        assert_eq!(
            body(Generation::Final, &device),
            r#"{"name":"n","publicIpAddr":"15.1.2.3","floatingIpAddr":"15.1.2.3","az":2,"type":"basename: b, image: i"}"#
        );
        let floating = NewDevice { floating_address: Some("15.9.9.9".into()), ..device };
        assert!(body(Generation::Final, &floating).contains(r#""floatingIpAddr":"15.9.9.9""#));
    }

    #[test]
    fn what_a_server_may_say_is_read_and_what_it_may_not_is_named() {
        assert_eq!(usage(&json!({ "total": 7, "free": 5, "taken": 2 })), Ok(Usage { total: 7, free: 5, taken: 2 }));
        assert_eq!(usage(&json!({ "free": 5 })), Ok(Usage { total: 5, free: 5, taken: 0 }));
        for lie in [json!(null), json!([]), json!({ "free": -1 }), json!({ "free": "5" }), json!({ "free": 1.5 })] {
            assert!(usage(&lie).unwrap_err().contains("\"free\""), "{lie}");
        }
        let found = device(&json!({ "id": 7, "name": "n", "publicIpAddr": "1.2.3.4", "status": "OFFLINE", "az": 1 }));
        let found = found.unwrap();
        assert_eq!((found.id.as_str(), found.address.as_str(), &found.extra["az"]), ("7", "1.2.3.4", &json!(1)));
        for lie in [json!(1), json!({}), json!({ "id": "" }), json!({ "id": [] }), json!({ "id": 1, "name": {} })] {
            assert!(device(&lie).is_err(), "{lie}");
        }
        assert!(devices(&json!({ "devices": {} })).is_err());
        let wrong = device(&json!({ "id": "a\nb", "name": 1 })).unwrap_err();
        assert!(!wrong.contains(char::is_control), "{wrong}");
    }
}
