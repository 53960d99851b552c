//! What libra answers. It has no check for a device that is there already, and tells unknown ids by 400.

use serde_json::{Value, json};

/// Value of a header of a request.
pub fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let head = request.split("\r\n\r\n").next()?;
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|h| h.1)
}

/// The bytes of an answer with a JSON body.
pub fn json_answer(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: {length}"
    );
    format!("{head}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

pub fn answer(request: &str, devices: &mut Vec<Value>, token: Option<&str>) -> Vec<u8> {
    let (status, body) = reply(request, devices, token);
    json_answer(status, &body)
}

fn fault(text: &str) -> Value {
    json!({ "faultcode": "Client", "faultstring": text })
}

fn reply(request: &str, devices: &mut Vec<Value>, token: Option<&str>) -> (u16, Value) {
    if token.is_some_and(|token| header(request, "authorization") != Some(&format!("Bearer {token}"))) {
        return (401, fault("Client not authorized to access this function"));
    }
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body: Value =
        request.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default();
    let Some((_, rest)) = path.split_once("/devices") else { return (404, fault("no such path")) };
    let place = |devices: &[Value], id: &str| {
        devices.iter().position(|device| device["id"].as_i64().is_some_and(|found| found.to_string() == id))
    };
    match (method, rest.trim_start_matches('/')) {
        ("GET", "") => {
            let number = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.parse::<usize>().ok());
            let page = devices.iter().skip(number("marker=").unwrap_or(0)).take(number("limit=").unwrap_or(100));
            (200, json!({ "devices": page.collect::<Vec<_>>() }))
        }
        ("GET", "usage") => {
            let free = devices.iter().filter(|device| device["status"] == "OFFLINE").count();
            (200, json!({ "total": devices.len(), "free": free, "taken": devices.len() - free }))
        }
        ("GET", id) => match place(devices, id) {
            Some(place) => (200, devices[place].clone()),
            None => (404, json!({ "status": 404, "message": format!("device id {id}not found") })),
        },
        ("POST", "") => add(&body, devices),
        ("PUT", id) => match place(devices, id) {
            Some(place) if body["status"].is_string() && body["statusDescription"].is_string() => {
                devices[place]["status"] = body["status"].clone();
                (200, devices[place].clone())
            }
            Some(_) => (400, json!({ "message": "Bad Request", "details": "statusDescription is mandatory" })),
            None => (400, json!({ "message": "Bad Request", "details": "Device ID is not valid" })),
        },
        ("DELETE", id) => match place(devices, id) {
            Some(place) if devices[place]["loadBalancers"].as_array().is_some_and(|all| !all.is_empty()) => {
                (400, fault("Device belongs to a loadbalancer"))
            }
            Some(place) => (200, devices.remove(place)),
            None => (400, fault("Device ID is not valid")),
        },
        _ => (405, fault("no such method")),
    }
}

fn add(body: &Value, devices: &mut Vec<Value>) -> (u16, Value) {
    let mut keys: Vec<&str> = body.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    let address = match keys.as_slice() {
        ["az", "floatingIpAddr", "name", "publicIpAddr", "type"] => &body["publicIpAddr"],
        ["address", "name"] => &body["address"],
        _ => return (400, json!({ "message": "Bad Request", "details": "a mandatory field is missing" })),
    };
    if body["name"] == "refused" {
        return (400, json!({ "message": "Bad Request", "details": "Device already exists" }));
    }
    let id = devices.iter().filter_map(|device| device["id"].as_u64()).max().unwrap_or(0) + 1;
    let device = json!({
        "id": id, "name": body["name"], "status": "OFFLINE", "publicIpAddr": address, "pingCount": 0, "loadBalancers": [],
        "floatingIpAddr": body["floatingIpAddr"], "az": body["az"], "type": body["type"], "created": "2012-12-18T00:00:00",
        "updated": "2012-12-18T00:00:00",
    });
    devices.push(device.clone());
    (200, device)
}
