//! The daemon's own token: by it the drivers that it hosts call its device API. It lives as long as the process and is in no store.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::bearer::{TokenText, is_equal};

/// The daemon's own token.
#[derive(Clone, Debug)]
pub struct OwnToken {
    token: TokenText,
    sha256: String,
}

impl OwnToken {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn random() -> io::Result<Self> {
        let token = TokenText::random().map_err(|_| io::Error::other("the system gives no random numbers"))?;
        Ok(Self { sha256: token.sha256(), token })
    }

    /// The token itself, for the configuration's reference to its file.
    pub fn expose(&self) -> &str {
        self.token.expose()
    }

    /// Writes it for this user alone, in place of an earlier daemon's.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = path.with_extension(format!("new.{}", std::process::id()));
        let _from_a_process_of_the_same_id = fs::remove_file(&unfinished);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(self.token.expose().as_bytes())?;
        file.write_all(b"\n")?;
        fs::rename(&unfinished, path)
    }

    pub(super) fn is(&self, shown: &TokenText) -> bool {
        is_equal(&self.sha256, &shown.sha256())
    }
}
