//! Stops a change between two steps, as a kill would: nothing after the step is done, not even tidying up.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use capstan_plugin_api::DriverError;

use crate::device::{Fault, Step};

static STOPS: Mutex<Option<HashMap<String, Step>>> = Mutex::new(None);
const TEXT: &str = "stopped by a test";

/// The next change of the device stops after this step; none lets it pass.
pub fn stop_at(slug: &str, step: Option<Step>) {
    let mut stops = STOPS.lock().unwrap_or_else(PoisonError::into_inner);
    let stops = stops.get_or_insert_default();
    match step {
        Some(step) => stops.insert(slug.to_owned(), step),
        None => stops.remove(slug),
    };
}

pub fn reached(slug: &str, step: Step) -> Result<(), Fault> {
    let stops = STOPS.lock().unwrap_or_else(PoisonError::into_inner);
    match stops.as_ref().and_then(|stops| stops.get(slug)) {
        Some(stop) if *stop == step => Err(DriverError::internal(TEXT).into()),
        _ => Ok(()),
    }
}

pub fn is_stop(fault: &Fault) -> bool {
    matches!(fault, Fault::Driver(error) if error.message == TEXT)
}
