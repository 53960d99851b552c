//! Bodies as libra reads them: attributes that nobody knows are passed over, a whole number may be a text of digits.

use serde_json::{Map, Value};

use super::table::NewDevice;

/// Longer than any name, address or description that libra's columns hold.
const LONGEST: usize = 128;
const LONGEST_DESCRIPTION: usize = 2000;

/// What a PUT sets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub status: String,
    pub description: String,
}

/// The device that a POST registers: libra's five attributes, or `name` and `address` alone as its first generation sent them.
pub(super) fn new_device(bytes: &[u8]) -> Result<NewDevice, String> {
    let body = object(bytes)?;
    let name = text(&body, "name", LONGEST)?;
    if body.contains_key("address") && !body.contains_key("publicIpAddr") {
        let address = text(&body, "address", LONGEST)?;
        return Ok(NewDevice {
            name,
            public_address: address.clone(),
            floating_address: address,
            az: if body.contains_key("az") { number(&body, "az")? } else { 1 },
            kind: if body.contains_key("type") { text(&body, "type", LONGEST)? } else { String::new() },
        });
    }
    Ok(NewDevice {
        name,
        public_address: text(&body, "publicIpAddr", LONGEST)?,
        floating_address: text(&body, "floatingIpAddr", LONGEST)?,
        az: number(&body, "az")?,
        kind: text(&body, "type", LONGEST)?,
    })
}

/// What a PUT sets.
pub(super) fn change(bytes: &[u8]) -> Result<Change, String> {
    let body = object(bytes)?;
    let status = text(&body, "status", LONGEST)?;
    if !["ONLINE", "ERROR"].contains(&status.as_str()) {
        return Err(invalid("status", &body["status"], "Value should be one of: ONLINE, ERROR"));
    }
    Ok(Change { status, description: text(&body, "statusDescription", LONGEST_DESCRIPTION)? })
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err("the body is no JSON object".to_owned()),
        Err(error) => Err(format!("the body is no JSON: {error}")),
    }
}

fn text(body: &Map<String, Value>, field: &str, longest: usize) -> Result<String, String> {
    match body.get(field) {
        None | Some(Value::Null) => Err(missing(field)),
        Some(Value::String(text)) if text.is_empty() && field != "statusDescription" => {
            Err(invalid(field, &body[field], "Value should not be empty"))
        }
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            Err(invalid(field, &body[field], "Value should have no control characters"))
        }
        Some(Value::String(text)) if text.chars().count() <= longest => Ok(text.clone()),
        Some(Value::String(_)) => Err(invalid(
            field,
            &body[field],
            &format!("Value should have a maximum character requirement of {longest}"),
        )),
        Some(other) => Err(invalid(field, other, "Value should be a text")),
    }
}

fn number(body: &Map<String, Value>, field: &str) -> Result<i64, String> {
    let value = body.get(field).unwrap_or(&Value::Null);
    let number = match value {
        Value::Null => return Err(missing(field)),
        Value::String(digits) => digits.trim().parse().ok(),
        other => other.as_i64(),
    };
    number.ok_or_else(|| invalid(field, value, "Value should be a whole number"))
}

fn missing(field: &str) -> String {
    format!("Invalid input for field/attribute {field}. Value: 'None'. Mandatory field missing.")
}

fn invalid(field: &str, value: &Value, rule: &str) -> String {
    let shown: String = value.as_str().map_or_else(|| value.to_string(), str::to_owned).chars().take(80).collect();
    format!("Invalid input for field/attribute {field}. Value: '{}'. {rule}", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_generations_of_the_body_register_a_device() {
        let seed = new_device(br#"{"name": "lb1", "address": "10.0.0.1"}"#).unwrap();
        assert_eq!((&*seed.public_address, &*seed.floating_address, seed.az), ("10.0.0.1", "10.0.0.1", 1));
        let later = new_device(
            br#"{"name": "lb1", "publicIpAddr": "10.0.0.1", "floatingIpAddr": "10.0.0.2", "az": "2",
                 "type": "basename: lb, image: 1", "rack": 7}"#,
        );
        assert_eq!(later.unwrap().az, 2);
    }

    #[test]
    fn each_attribute_that_is_missing_or_wrong_is_named() {
        for (body, says) in [
            ("", "no JSON"),
            ("[]", "no JSON object"),
            ("{}", "attribute name. Value: 'None'. Mandatory"),
            (r#"{"name": ""}"#, "attribute name"),
            (r#"{"name": "a\nb"}"#, "control"),
            (r#"{"name": "a", "publicIpAddr": "1", "floatingIpAddr": "1", "az": "x", "type": "t"}"#, "attribute az"),
            (r#"{"name": "a", "publicIpAddr": 1}"#, "attribute publicIpAddr"),
        ] {
            assert!(new_device(body.as_bytes()).unwrap_err().contains(says), "{body}");
        }
        assert!(
            change(br#"{"status": "UP", "statusDescription": "x"}"#).unwrap_err().contains("one of: ONLINE, ERROR")
        );
        assert!(change(br#"{"status": "ONLINE"}"#).unwrap_err().contains("statusDescription"));
    }

    proptest! {
        #[test]
        fn any_body_is_a_device_or_a_fault(text in ".*", value in ".*") {
            let _ = new_device(text.as_bytes());
            let _ = change(serde_json::json!({ "status": value, "statusDescription": text }).to_string().as_bytes());
        }
    }
}
