//! An authority that signs certificates into a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// An authority.
pub struct Authority {
    folder: PathBuf,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    /// A new one, in a folder that is made.
    pub fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).expect("a folder of its own");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        fs::write(folder.join("ca.pem"), certificate.pem()).expect("the file is written");
        Self { folder, issuer: rcgen::Issuer::new(parameters, key) }
    }

    /// The file with its own certificate.
    pub fn ca(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a certificate that ends in this year, for this name and loopback; returns the names of its two files.
    pub fn issue(&self, name: &str, end: i32) -> [String; 2] {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.not_before = rcgen::date_time_ymd(2019, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(end, 1, 1);
        let files = ["cert", "key"].map(|what| self.folder.join(format!("{name}-{end}.{what}.pem")));
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(&files[0], certificate.pem()).expect("the file is written");
        fs::write(&files[1], key.serialize_pem()).expect("the file is written");
        files.map(|file| file.display().to_string())
    }
}
