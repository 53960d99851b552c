//! Where a value comes from.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a value of the configuration comes from, as the operator would name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// An option of the command line, such as `--driver`.
    CommandLine(Arc<str>),
    /// The default of this version.
    Default,
    /// An environment variable, by name.
    Environment(Arc<str>),
    /// A line of a file; lines count from 1.
    File {
        /// The file as it was named or found.
        path: Arc<Path>,
        /// The line of the key.
        line: u32,
    },
}

impl Origin {
    /// A relative path is taken from the folder of the file that states it; from anywhere else, from the working directory.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        match self {
            Self::File { path: file, .. } => file.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path)),
            _ => path.to_owned(),
        }
    }

    /// The order in which faults are listed: by file and line, then what stands in no file.
    pub(super) fn rank(&self) -> (u8, &Path, u32) {
        match self {
            Self::File { path, line } => (0, path, *line),
            Self::Environment(name) => (1, Path::new(&**name), 0),
            Self::CommandLine(flag) => (2, Path::new(&**flag), 0),
            Self::Default => (3, Path::new(""), 0),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(flag) => write!(out, "command line {flag}"),
            Self::Default => out.write_str("default"),
            Self::Environment(name) => write!(out, "environment {name}"),
            Self::File { path, line } => write!(out, "{}:{line}", path.display()),
        }
    }
}
