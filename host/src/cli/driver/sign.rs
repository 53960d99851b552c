//! `capstan driver sign`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
    },
    config::KeyFault,
    drivers::{self, PrivateKey},
};

/// A host that has the public key as `signature_key` loads FILE only with this signature beside it. FILE may be any driver, a
/// library or a program; it is read, not run.
#[derive(Debug, Args)]
#[command(after_help = "Example: capstan driver sign libacme.so --key acme.key")]
pub struct Arguments {
    /// The driver's file
    file: PathBuf,
    /// Private Ed25519 key in PEM, as `capstan driver keygen` or `openssl genpkey -algorithm ed25519` writes it
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    /// Where the signature is written [default: FILE.sig]
    #[arg(long, value_name = "FILE.sig")]
    out: Option<PathBuf>,
}

pub(super) fn sign(place: &Place, Arguments { file, key: key_file, out }: &Arguments) -> Outcome {
    let bytes = read(file)?;
    let text = String::from_utf8(read(key_file)?).unwrap_or_default();
    let key = PrivateKey::parse(&text).map_err(|fault| {
        let remedy = match fault {
            KeyFault::Protected => "take the password off: openssl pkey -in KEYFILE -out PLAIN",
            KeyFault::Public => "name the private half of it",
            _ => "make one with `capstan driver keygen`",
        };
        let file = key_file.display();
        Failure::Usage(format!("--key: found {fault} in {file}; expected a private Ed25519 key in PEM; {remedy}"))
    })?;
    let signature = out.clone().unwrap_or_else(|| beside(file, ".sig"));
    drivers::write_public(&signature, &key.sign(&bytes))
        .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", signature.display())))?;
    let id = key.public().id();
    match place.output {
        Output::Json => output::json(&json!({ "signature": signature.display().to_string(), "key": id })),
        Output::Table => output::line(&format!("{}: signed by key {id}", signature.display())),
    }
    Ok(())
}

/// The path with more at the end of its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", path.display())))
}
