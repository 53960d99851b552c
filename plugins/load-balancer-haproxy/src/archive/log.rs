//! The lines of some proxies, packed.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use capstan_plugin_api::{CallContext, DriverError};
use flate2::{Compression, write::GzEncoder};
use md5::{Digest, Md5};

use crate::device::Fault;

/// A line is cut at this length: no line of HAProxy's is longer, and a log without newlines must not fill the memory.
const LONGEST_LINE: u64 = 64 * 1024;

/// A packed log.
pub struct Packed {
    /// Where.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// MD5 in hexadecimal: what Swift checks as the ETag.
    pub md5: String,
}

/// Copies the lines of `log` that name one of the proxies, compressed, to `to`.
pub fn pack(log: &Path, names: &[String], to: &Path, call: &CallContext) -> Result<Packed, DriverError> {
    let mut lines = BufReader::new(File::open(log).map_err(Fault::file("read", log))?);
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(Fault::file("write", to))?;
    let mut packer = GzEncoder::new(Counted { file, digest: Md5::new(), bytes: 0 }, Compression::default());
    let mut line = Vec::new();
    for count in 0_u64.. {
        if count % 4096 == 0 {
            call.check()?;
        }
        line.clear();
        let read = lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(Fault::file("read", log))?;
        if read == 0 {
            break;
        }
        if is_about(&line, names) {
            packer.write_all(&line).map_err(Fault::file("write", to))?;
        }
    }
    let counted = packer.finish().map_err(Fault::file("write", to))?;
    counted.file.sync_all().map_err(Fault::file("write", to))?;
    let md5 = counted.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Packed { path: to.to_owned(), bytes: counted.bytes, md5 })
}

/// A proxy's name stands as a word of its own, before a slash and a server's name, or before the `~` of TLS.
fn is_about(line: &[u8], names: &[String]) -> bool {
    line.split(|byte| matches!(byte, b' ' | b'/' | b'~' | b'\n' | b'\t'))
        .any(|word| names.iter().any(|name| name.as_bytes() == word))
}

struct Counted {
    file: File,
    digest: Md5,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_whole_words() {
        let names = ["tcp-in".to_owned(), "tcp-servers".to_owned()];
        for line in [
            "Jan 1 haproxy[9]: 127.0.0.1:5 [x] tcp-in tcp-servers/id-1 1/0/2 9 --\n",
            "a tcp-in~ b\n",
            "Server tcp-servers/id-1 is DOWN\n",
        ] {
            assert!(is_about(line.as_bytes(), &names), "{line}");
        }
        for line in ["a http-in b\n", "a tcp-x-in tcp-x-servers/id-1\n", "tcp-infra\n", "\n"] {
            assert!(!is_about(line.as_bytes(), &names), "{line}");
        }
    }
}
