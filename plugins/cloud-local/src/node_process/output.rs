//! The file that a node's processes write to: their console.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
};

use crate::node_folder::{MOST_OUTPUT, NodeFolder};

/// A line of our own in it.
pub(super) fn say(line: &str) {
    let _nowhere_else_to_say_it = writeln!(io::stderr(), "capstan-local-node: {line}");
}

/// Moves a long output aside. Those that write go on in the same file, at its new end: the daemon opened it to append. What they write
/// between the copy and the cut is lost.
pub(super) fn rotate(folder: &NodeFolder) -> io::Result<()> {
    let path = folder.output();
    if fs::metadata(&path)?.len() <= MOST_OUTPUT {
        return Ok(());
    }
    let mut older =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.older_output())?;
    io::copy(&mut File::open(&path)?, &mut older)?;
    OpenOptions::new().write(true).open(&path)?.set_len(0)
}
