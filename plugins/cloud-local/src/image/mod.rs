//! Images: folders with a manifest that says what a node runs.

mod files;
mod manifest;
mod template;

pub(crate) use files::install;
pub(crate) use manifest::Manifest;
pub(crate) use template::{Values, is_variable};
