//! What nodes can be made of.

use std::fs;

use capstan_plugin_api::{
    CallContext, DriverError, LogLevel,
    cloud::{Image, List, Location, Page, Quota, Quotas, Size},
};
use serde_json::json;

use super::{Cloud, failed, lists::page};
use crate::image::Manifest;

/// The one location: this machine.
pub(super) const LOCATION: &str = "local";

impl Cloud {
    /// An image whose manifest is faulty is left out, and the log says why.
    pub fn list_images(&self, call: &CallContext, request: &List) -> Result<Page<Image>, DriverError> {
        let path = &self.options.images;
        let entries = fs::read_dir(path).map_err(|error| failed("cannot read its images", path, &error))?;
        let mut images = Vec::new();
        for entry in entries.flatten() {
            let Ok(id) = entry.file_name().into_string() else { continue };
            match Manifest::read(&entry.path()) {
                Ok(Some(manifest)) => {
                    let mut extra = serde_json::Map::new();
                    if !manifest.description.is_empty() {
                        extra.insert("description".into(), json!(manifest.description));
                    }
                    images.push(Image { name: manifest.name.unwrap_or_else(|| id.clone()), id, extra });
                }
                Ok(None) => {}
                Err(wrong) => call.log(LogLevel::Warn, &format!("an image cannot be used: {wrong}")),
            }
        }
        images.sort_by(|a, b| a.id.cmp(&b.id));
        page(request, images, |image| &image.id, |image| Some(&image.name))
    }

    pub fn list_sizes(&self, request: &List) -> Result<Page<Size>, DriverError> {
        let sizes = self.options.sizes.iter().map(|(id, size)| Size {
            id: id.clone(),
            name: id.clone(),
            ram_mib: size.memory_mib,
            disk_gib: size.disk_gib,
            vcpus: size.vcpus,
            extra: [("files".to_owned(), json!(size.files)), ("processes".to_owned(), json!(size.processes))]
                .into_iter()
                .collect(),
        });
        page(request, sizes.collect(), |size| &size.id, |size| Some(&size.name))
    }

    pub fn list_locations(&self, request: &List) -> Result<Page<Location>, DriverError> {
        let here = Location { id: LOCATION.to_owned(), name: LOCATION.to_owned(), ..Location::default() };
        page(request, vec![here], |location| &location.id, |location| Some(&location.name))
    }

    pub fn quotas(&self) -> Result<Quotas, DriverError> {
        let quota = |name: &str, used: usize, limit: u32| Quota {
            name: name.to_owned(),
            used: used as u64,
            limit: Some(limit.into()),
        };
        let nodes = self.options.max_nodes.min(self.options.addresses.len());
        let floating = self.options.max_floating.min(self.options.floating.len());
        Ok(Quotas {
            quotas: vec![
                quota("nodes", self.all()?.len(), nodes),
                quota("floating_ips", self.forwards()?.len(), floating),
            ],
        })
    }
}
