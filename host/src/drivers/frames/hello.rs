//! What a driver says of itself in its hello.

use capstan_plugin_api::Manifest;
use thiserror::Error;

use super::Hello;
use crate::drivers::{error::one_line, manifest};

/// A hello that makes no driver. Each is one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HelloFault {
    /// There is no version before the first.
    #[error("a hello of protocol 0")]
    Protocol,
    /// It does not say who it is.
    #[error("a hello without a manifest")]
    NoManifest,
    /// What it says is no manifest.
    #[error("a manifest that cannot be read ({0})")]
    Unreadable(String),
    /// A word of the manifest is none that could be shown and passed on.
    #[error("{0}")]
    Word(Box<str>),
}

impl Hello<'_> {
    /// The driver's manifest, whose words are such as the host can show and pass on.
    ///
    /// # Errors
    /// What is wrong with the hello.
    pub fn manifest(&self) -> Result<Manifest, HelloFault> {
        if self.protocol == 0 {
            return Err(HelloFault::Protocol);
        }
        let text = self.manifest.ok_or(HelloFault::NoManifest)?;
        let manifest: Manifest =
            serde_json::from_str(text.get()).map_err(|error| HelloFault::Unreadable(one_line(&error.to_string())))?;
        manifest::check(&manifest).map_err(|failure| HelloFault::Word(one_line(&failure.found).into()))?;
        Ok(manifest)
    }
}
