//! The folder in which a node keeps its key (`key.pem`, mode 0600), its certificate (`cert.pem`) and the authority's (`ca.pem`).
//!
//! The key of a certificate that is being asked for is `pending.key`. It is on disk before anything is asked, so that a node that is
//! killed before it has the answer asks again with the same key and gets the same certificate. The new certificate is put in place
//! before its key is: whoever finds a certificate of the pending key finishes what was begun.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::tls::{self, TlsFiles, TlsIdentity};

pub(super) struct Folder(PathBuf);

/// A certificate with its key.
pub(super) struct Held {
    pub key: KeyPair,
    pub pem: String,
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
}

const KEY: &str = "key.pem";
const PENDING: &str = "pending.key";
const CERTIFICATE: &str = "cert.pem";
const AUTHORITY: &str = "ca.pem";

impl Folder {
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// As connections are made with them.
    pub fn files(&self) -> TlsFiles {
        let identity = TlsIdentity { certificate: self.0.join(CERTIFICATE), key: self.0.join(KEY) };
        TlsFiles { ca: self.0.join(AUTHORITY), identity: Some(identity) }
    }

    /// The certificate in force, if there is one.
    pub fn load(&self, name: &str) -> Result<Option<Held>, String> {
        let Some(pem) = self.read(CERTIFICATE)? else { return Ok(None) };
        let path = self.0.join(CERTIFICATE);
        let fault =
            |what: &str| format!("{}: found {what}; remove the folder and give the node a new token", path.display());
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| fault("no certificate"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| fault("no certificate"))?;
        let is_of = |key: &KeyPair| parsed.public_key().raw == key.subject_public_key_info();
        let key = match self.key(KEY)?.filter(&is_of) {
            Some(key) => key,
            None => {
                let key = self.key(PENDING)?.filter(&is_of).ok_or_else(|| fault("a certificate of another key"))?;
                self.finish()?;
                key
            }
        };
        let found = tls::common_name(&der).unwrap_or_default();
        if found != name {
            return Err(fault(&format!("a certificate of the name {found:?}, and identity.name is {name:?}")));
        }
        let serial = tls::serial(&der).ok_or_else(|| fault("a certificate without a serial number"))?;
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Some(Held { key, pem, serial, not_before, not_after }))
    }

    /// The key for the next certificate; the one of an earlier attempt, if there was one.
    pub fn pending(&self) -> Result<KeyPair, String> {
        if let Some(key) = self.key(PENDING)? {
            return Ok(key);
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| self.failed(&self.0, &error))?;
        let key = KeyPair::generate().map_err(|error| format!("no key can be made: {error}"))?;
        self.write(PENDING, &key.serialize_pem(), 0o600)?;
        Ok(key)
    }

    /// Puts a certificate of the pending key in force.
    pub fn take_over(&self, name: &str, key: &KeyPair, certificate: &str, ca: &str) -> Result<(), String> {
        let other = "the daemon's answer is another certificate than the one that was asked for";
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| other.to_owned())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| other.to_owned())?;
        let is_ours = parsed.public_key().raw == key.subject_public_key_info();
        if !is_ours || tls::common_name(&der).as_deref() != Some(name) {
            return Err(other.to_owned());
        }
        self.write(AUTHORITY, ca, 0o644)?;
        self.write(CERTIFICATE, certificate, 0o644)?;
        self.finish()
    }

    fn finish(&self) -> Result<(), String> {
        let path = self.0.join(KEY);
        fs::rename(self.0.join(PENDING), &path).and_then(|()| self.sync()).map_err(|error| self.failed(&path, &error))
    }

    fn key(&self, name: &str) -> Result<Option<KeyPair>, String> {
        let Some(pem) = self.read(name)? else { return Ok(None) };
        let path = self.0.join(name);
        let fault = || format!("{}: found no key; remove the folder and give the node a new token", path.display());
        KeyPair::from_pem(&pem).map(Some).map_err(|_| fault())
    }

    fn read(&self, name: &str) -> Result<Option<String>, String> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}; correct its permissions", path.display())),
        }
    }

    /// On disk before it returns, and whole under its name or not there.
    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), String> {
        let path = self.0.join(name);
        let unfinished = self.0.join(format!("{name}.new"));
        let write = || {
            let _from_an_earlier_attempt = fs::remove_file(&unfinished);
            let mut file = File::options().write(true).create_new(true).mode(mode).open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            self.sync()
        };
        write().map_err(|error: io::Error| self.failed(&path, &error))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn failed(&self, path: &Path, error: &io::Error) -> String {
        format!("{} cannot be written: {error}; create {} for this user", path.display(), self.0.display())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn certificate(name: &str, key: &KeyPair) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn a_node_that_is_killed_in_between_finishes_what_it_began() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().join("identity"));
        assert!(folder.load("lb-1").unwrap().is_none());
        let key = folder.pending().unwrap();
        assert_eq!(folder.pending().unwrap().serialize_pem(), key.serialize_pem());
        let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(PENDING), 0o600);
        folder.take_over("lb-1", &key, &certificate("lb-1", &key), "ca").unwrap();
        assert_eq!(mode(KEY), 0o600);
        assert!(folder.load("lb-1").unwrap().is_some());
        assert!(folder.load("lb-2").err().unwrap().contains("lb-1"));
        // Killed after the new certificate was put in place and before its key was.
        let next = folder.pending().unwrap();
        folder.write(CERTIFICATE, &certificate("lb-1", &next), 0o644).unwrap();
        let held = folder.load("lb-1").unwrap().unwrap();
        assert_eq!(held.key.serialize_pem(), next.serialize_pem());
        assert!(!folder.0.join(PENDING).exists());
    }

    #[test]
    fn another_certificate_than_the_one_asked_for_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path().join("identity"));
        let key = folder.pending().unwrap();
        let other = KeyPair::generate().unwrap();
        for bad in [certificate("lb-2", &key), certificate("lb-1", &other), "no PEM".to_owned()] {
            assert!(folder.take_over("lb-1", &key, &bad, "ca").is_err());
        }
        assert!(folder.load("lb-1").unwrap().is_none());
    }
}
