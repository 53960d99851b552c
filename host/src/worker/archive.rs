//! ARCHIVE: where the log of a load balancer goes.

use capstan_plugin_api::{Secret, load_balancer::ArchiveRequest};
use serde_json::Value;

use super::{
    fields::{identifier, present, quoted},
    message::{Message, Object, TOKEN, kind},
    reply::Fault,
    update::object,
};

const TYPE: &str = "hpcs_object_store_type";
const BASEPATH: &str = "hpcs_object_store_basepath";
const ENDPOINT: &str = "hpcs_object_store_endpoint";

/// Reads the message. Only its first load balancer is archived.
///
/// # Errors
/// In this order: the type is missing or unknown; basepath, endpoint, token or load balancers are missing; a value cannot be used.
pub(super) fn read(message: &Message, device: &str) -> Result<ArchiveRequest, Fault> {
    let fields = &message.fields;
    let store = present(fields, TYPE).ok_or_else(|| Fault::missing(TYPE))?;
    if !store.as_str().is_some_and(|name| name.eq_ignore_ascii_case("swift")) {
        return Err(Fault::BadRequest(format!("'{}' is not a valid store type", quoted(store))));
    }
    let basepath = present(fields, BASEPATH).ok_or_else(|| Fault::missing(BASEPATH))?;
    let endpoint = present(fields, ENDPOINT).ok_or_else(|| Fault::missing(ENDPOINT))?;
    let token = message.token.as_ref().ok_or_else(|| Fault::missing(TOKEN))?;
    let load_balancers = present(fields, "loadBalancers").ok_or_else(|| Fault::missing("loadBalancers"))?;

    let Some(first) = load_balancers.as_array().and_then(|entries| entries.first()) else {
        return Err(Fault::fail("'loadBalancers' names no load balancer"));
    };
    let first = object("loadBalancers", 0, first)?;
    let protocol = value(first, "protocol")?
        .as_str()
        .filter(|name| (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric()))
        .ok_or_else(|| Fault::fail("'protocol' of the load balancer is no protocol's name"))?;
    let id = value(first, "id")?;
    let load_balancer = identifier(id).map_err(Fault::fail)?;
    if load_balancer.bytes().all(|b| b == b'.') {
        return Err(Fault::fail(format!("Invalid id '{load_balancer}': it would name a directory")));
    }
    Ok(ArchiveRequest {
        device: device.to_owned(),
        method: "swift".to_owned(),
        protocol: protocol.to_ascii_uppercase(),
        load_balancer,
        basepath: location(BASEPATH, basepath)?,
        endpoint: location(ENDPOINT, endpoint)?,
        token: header_value(token)?,
    })
}

fn value<'a>(load_balancer: &'a Object, name: &str) -> Result<&'a Value, Fault> {
    present(load_balancer, name).ok_or_else(|| Fault::fail(format!("Missing '{name}' of the load balancer")))
}

/// Part of a URL: a text without control characters and without segments that climb out of the account.
fn location(name: &str, value: &Value) -> Result<String, Fault> {
    let text =
        value.as_str().ok_or_else(|| Fault::fail(format!("'{name}' is a {}, a string is expected", kind(value))))?;
    let climbs = text.split('/').any(|segment| segment == "." || segment == "..");
    if text.is_empty() || text.len() > 2048 || climbs || text.chars().any(char::is_control) {
        return Err(Fault::fail(format!("'{name}' cannot be used: '{}'", quoted(value))));
    }
    Ok(text.to_owned())
}

/// The token travels in an HTTP header, so it is printable ASCII. It is never quoted.
fn header_value(token: &Value) -> Result<Secret, Fault> {
    token
        .as_str()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() || b == b' '))
        .map(Secret::new)
        .ok_or_else(|| Fault::fail(format!("'{TOKEN}' is not a string of printable ASCII characters")))
}
