//! What was applied to a device, kept beside its configuration. It is written last, so it says what has been done.

use capstan_plugin_api::load_balancer::ApplyRequest;
use serde::{Deserialize, Serialize};

use super::{
    Fault, Paths,
    files::{self, Staged},
};
use crate::spec::Slots;

/// The record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was applied. Its generation is the greatest that any call about the device carried.
    pub request: ApplyRequest,
    /// Members that came in through slots.
    #[serde(default)]
    pub slots: Slots,
    /// Number of the file that was loaded last.
    #[serde(default)]
    pub load: u64,
    /// The device as a whole was told not to serve.
    #[serde(default)]
    pub suspended: bool,
}

impl Record {
    /// The record of a device; none when nothing was ever applied, or all was deleted.
    pub fn read(paths: &Paths) -> Result<Option<Self>, Fault> {
        let Some(text) = files::read(&paths.record)? else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Fault::Record { path: paths.record.clone(), reason: error.to_string() })
    }

    /// The record on the disk, not yet under its name.
    pub fn stage(&self, paths: &Paths) -> Result<Staged, Fault> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Fault::Record { path: paths.record.clone(), reason: error.to_string() })?;
        Staged::write(&paths.record, &bytes)
    }

    /// Writes the record.
    pub fn write(&self, paths: &Paths) -> Result<(), Fault> {
        Staged::commit(&[self.stage(paths)?])
    }

    /// The same load balancers were asked for.
    pub fn asks_for(&self, request: &ApplyRequest) -> bool {
        self.request.load_balancers == request.load_balancers
            && self.request.skip_refused_members == request.skip_refused_members
    }
}
