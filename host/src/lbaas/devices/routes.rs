//! `/v1/devices`, to the letter of libra's admin API v1.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{
    body,
    fault::{Fault, Wording},
    table::{self, Devices},
    wire::{DeviceOnTheWire, UsageOnTheWire},
};
use crate::http::{Access, Bytes, Problem, Routes};

const DEFAULT_LIMIT: i64 = 100;
/// More in one answer is refused rather than cut: who pages by counting would leave devices out.
const MOST: i64 = 10_000;

pub(in crate::lbaas) fn routes(devices: Devices, open: bool) -> Routes {
    let access = if open { Access::OpenDevice } else { Access::Device };
    Routes::new()
        .get("/v1/devices", access, "devices, by marker and limit", list)
        .post("/v1/devices", access, "register a device", add)
        .get("/v1/devices/usage", access, "how many devices there are, and how many are spare", usage)
        .get("/v1/devices/{id}", access, "one device", get)
        .put("/v1/devices/{id}", access, "set a device's status", update)
        .delete("/v1/devices/{id}", access, "forget a device", delete)
        .with_state(devices)
}

async fn list(State(devices): State<Devices>, RawQuery(query): RawQuery) -> Result<Json<Value>, Fault> {
    let query = query.unwrap_or_default();
    let marker = parameter(&query, "marker", 0, i64::MAX)?;
    let limit = parameter(&query, "limit", DEFAULT_LIMIT, MOST)?;
    let found = devices.list(marker, limit).await.map_err(|error| Wording::Read.store(&error))?;
    let found: Vec<_> = found.into_iter().map(DeviceOnTheWire::shown).collect();
    Ok(Json(json!({ "devices": found })))
}

fn parameter(query: &str, name: &str, default: i64, most: i64) -> Result<i64, Fault> {
    let stated = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(found, _)| *found == name);
    let Some((_, text)) = stated else { return Ok(default) };
    text.parse()
        .ok()
        .filter(|number| (0..=most).contains(number))
        .ok_or_else(|| Wording::Read.bad_request(format!("{name}: expected a whole number from 0 to {most}")))
}

async fn usage(State(devices): State<Devices>) -> Result<Json<UsageOnTheWire>, Fault> {
    devices.usage().await.map(|usage| Json(usage.into())).map_err(|error| Wording::Read.store(&error))
}

async fn get(State(devices): State<Devices>, Path(id): Path<String>) -> Result<Json<DeviceOnTheWire>, Fault> {
    let found = match id.parse() {
        Ok(id) => devices.get(id).await.map_err(|error| Wording::Read.store(&error))?,
        Err(_) => None,
    };
    // The missing blank is libra's.
    let missing = || Wording::Read.fault(StatusCode::NOT_FOUND, format!("device id {id}not found"));
    found.map(|device| Json(DeviceOnTheWire::shown(device))).ok_or_else(missing)
}

async fn add(State(devices): State<Devices>, body: Result<Bytes, Problem>) -> Result<Json<DeviceOnTheWire>, Fault> {
    let Bytes(bytes) = body.map_err(|problem| Wording::Change.problem(&problem))?;
    let new = body::new_device(&bytes).map_err(|text| Wording::Change.bad_request(text))?;
    let name = new.name.clone();
    let added = devices.add(new).await.map_err(|error| Wording::Change.store(&error))?;
    let exists = || Wording::Change.bad_request(format!("Device name {name} already exists"));
    added.map(|device| Json(DeviceOnTheWire::registered(device))).ok_or_else(exists)
}

async fn update(
    State(devices): State<Devices>,
    Path(id): Path<String>,
    body: Result<Bytes, Problem>,
) -> Result<Json<DeviceOnTheWire>, Fault> {
    let Bytes(bytes) = body.map_err(|problem| Wording::Change.problem(&problem))?;
    let body::Change { status, description } =
        body::change(&bytes).map_err(|text| Wording::Change.bad_request(text))?;
    let updated = match id.parse() {
        Ok(id) => devices.update(id, status, description).await.map_err(|error| Wording::Change.store(&error))?,
        Err(_) => None,
    };
    let missing = || Wording::Change.bad_request("Device ID is not valid");
    updated.map(|device| Json(DeviceOnTheWire::shown(device))).ok_or_else(missing)
}

async fn delete(State(devices): State<Devices>, Path(id): Path<String>) -> Result<StatusCode, Fault> {
    let deleted = match id.parse() {
        Ok(id) => devices.delete(id).await,
        Err(_) => Ok(false),
    };
    match deleted {
        Ok(true) => Ok(StatusCode::OK),
        Ok(false) => Err(Wording::Delete.bad_request("Device ID is not valid")),
        Err(error) if table::is_in_use(&error) => Err(Wording::Delete.bad_request("Device belongs to a loadbalancer")),
        Err(error) => Err(Wording::Delete.store(&error)),
    }
}
