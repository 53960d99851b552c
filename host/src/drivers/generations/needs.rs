//! The methods that a next generation must have: what was called, and what services say they need.

use std::collections::BTreeSet;

use capstan_plugin_api::Manifest;

use super::Driver;
use crate::drivers::error::{Failure, Stage};

impl Driver {
    /// Methods that are in use, sorted. One that the generation which serves does not have either is not asked of the next.
    pub fn methods_in_use(&self) -> Vec<String> {
        let mut methods: BTreeSet<String> = self.lineage.figures.methods().into_iter().collect();
        let generation = self.generation.load();
        match generation.as_ref() {
            Some(generation) => {
                // What was begun in the background is polled where it was begun.
                let out = generation.calls.all().into_iter().filter(|call| &*call.method != "poll");
                methods.extend(out.map(|call| call.method.to_string()));
                methods.extend(self.needs());
                methods.retain(|method| generation.manifest.has(method));
            }
            // Nothing serves, so nothing says which of the calls so far were answered.
            None => methods = self.needs().into_iter().collect(),
        }
        methods.into_iter().collect()
    }
}

/// Refuses a driver that lacks one of `needed`.
pub(in crate::drivers) fn check(manifest: &Manifest, needed: &[String]) -> Result<(), Failure> {
    let missing: Vec<&str> = needed.iter().map(String::as_str).filter(|method| !manifest.has(method)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Stage::Compatibility,
        format!("version {} without {}", manifest.version, missing.join(", ")),
        format!("every method that is in use: {}", needed.join(", ")),
        "install a build that has them; a restart of the daemon forgets what was in use",
    ))
}
