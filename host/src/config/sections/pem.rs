//! PEM files that the configuration names.

use std::path::PathBuf;

use crate::config::{Warning, read::TableReader, secret, text_file};

/// Bytes of the longest file: a bundle of all public authorities has a fifth of it.
const LONGEST: u64 = 1 << 20;

/// A PEM file that may be absent.
pub(super) fn pem_file(table: &mut TableReader<'_, '_>, name: &'static str) -> Option<PathBuf> {
    let path = table.optional::<PathBuf>(name)?;
    readable(table, name, path)
}

/// A file that cannot be read, or that holds something else, is a fault before anything starts; a key that everybody may read, a
/// warning. Keys of the configuration whose name ends in `key` name a private key, all others certificates.
pub(super) fn readable(table: &mut TableReader<'_, '_>, name: &str, path: PathBuf) -> Option<PathBuf> {
    let (key, is_key) = (table.key(name), name.ends_with("key"));
    let wanted = if is_key { "a PEM file with a private key" } else { "a PEM file with certificates" };
    let shown = path.display();
    let (found, remedy) = match text_file::read(&path, LONGEST) {
        Ok((text, mode)) => {
            let has = |begin: &str| text.contains(begin);
            match (has("-----BEGIN CERTIFICATE-----"), has(" PRIVATE KEY-----")) {
                (true, false) if is_key => (format!("{shown}, which holds a certificate"), "name the key's file"),
                (false, true) if !is_key => {
                    (format!("{shown}, which holds a private key"), "name the certificate's file")
                }
                (false, false) => (format!("{shown}, which holds neither certificate nor key"), "name another file"),
                _ => {
                    let exposed = secret::exposed(&path, mode).filter(|_| is_key);
                    let origin = table.session.origin(&key);
                    table.session.warnings.extend(exposed.map(|text| Warning { origin, key, text }));
                    return Some(path);
                }
            }
        }
        Err(error) => (format!("{shown}, which cannot be read ({error})"), "create it or correct its permissions"),
    };
    table.session.fault_at(&key, &found, wanted, remedy);
    None
}
