//! Whose files are admitted.

use std::path::Path;

use crate::{
    cli::{exit::Failure, place::Place},
    drivers::{self, LoadError, Stage},
};

/// Who admits driver files of this user: a file is judged as it would be when it is loaded.
pub(in crate::cli::driver) struct Trust(Option<String>);

impl Trust {
    /// By the option, else by the configuration in force; without one, root's files alone are admitted.
    pub(in crate::cli::driver) fn of(place: &Place, option: bool) -> Result<Self, Failure> {
        if option {
            return Ok(Self(Some("--trust-own-files".to_owned())));
        }
        if !place.config.exists() {
            return Ok(Self(None));
        }
        let loaded = place.load()?;
        let origin = loaded.origin("drivers.trust_own_files").map(ToString::to_string).unwrap_or_default();
        let admits = loaded.config.drivers.trust_own_files;
        Ok(Self(admits.then(|| format!("drivers.trust_own_files = true ({origin})"))))
    }

    pub(in crate::cli::driver) fn admits_own(&self) -> bool {
        self.0.is_some()
    }

    /// Why a file is not to be had, and what would admit it.
    pub(in crate::cli::driver) fn refused(&self, error: &LoadError, path: &Path) -> Failure {
        let remark = self.remark(path).filter(|_| error.stage == Stage::File && !self.admits_own());
        Failure::Failed([Some(error.to_string()), remark].into_iter().flatten().collect::<Vec<_>>().join("; "))
    }

    /// What to know where the file passes one way and not the other.
    pub(in crate::cli::driver) fn remark(&self, path: &Path) -> Option<String> {
        let refusal = |admits_own| drivers::inspect(path, admits_own).err().filter(|error| error.stage == Stage::File);
        let strict = refusal(false)?;
        match &self.0 {
            Some(who) => {
                let LoadError { found, expected, remedy, .. } = strict;
                Some(format!("only {who} admits this file: found {found}; expected {expected}; {remedy}"))
            }
            None if refusal(true).is_none() => {
                Some("for development, --trust-own-files admits it, as drivers.trust_own_files = true does".to_owned())
            }
            None => None,
        }
    }
}
