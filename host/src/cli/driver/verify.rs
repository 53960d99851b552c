//! `capstan driver verify`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::sign::{beside, read};
use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
    },
    config::PublicKey,
    drivers,
};

/// Ends with 0 when one line of the signature is good and by this key, else with 1. No configuration is read; whether a host
/// would load the file is what `capstan driver check` answers.
#[derive(Debug, Args)]
#[command(after_help = "Example: capstan driver verify libacme.so --key acme.key.pub")]
pub struct Arguments {
    /// The driver's file
    file: PathBuf,
    /// Public Ed25519 key: a PEM file, or the line of base64 in it
    #[arg(long, value_name = "PUBKEY")]
    key: String,
    /// The signature [default: FILE.sig]
    #[arg(long, value_name = "FILE.sig")]
    signature: Option<PathBuf>,
}

pub(super) fn verify(place: &Place, Arguments { file, key, signature }: &Arguments) -> Outcome {
    let bytes = read(file)?;
    let key = public_key(key)?;
    let path = signature.clone().unwrap_or_else(|| beside(file, ".sig"));
    let signatures = read(&path)?;
    let result = drivers::verify(&bytes, &signatures, &[key]);
    match place.output {
        Output::Json => output::json(&json!({
            "good": result.is_ok(), "key": key.id(), "error": result.as_ref().err().map(ToString::to_string),
        })),
        Output::Table if result.is_ok() => {
            output::line(&format!("{}: good signature by key {}", file.display(), key.id()));
        }
        Output::Table => {}
    }
    result.map(drop).map_err(|fault| Failure::Failed(format!("{}: {fault}", path.display())))
}

fn public_key(text: &str) -> Result<PublicKey, Failure> {
    // What is a key by itself is no path that anybody has.
    PublicKey::parse(text).or_else(|_| {
        let content = String::from_utf8(read(text.as_ref())?).unwrap_or_default();
        PublicKey::parse(&content).map_err(|fault| {
            Failure::Usage(format!(
                "--key: found {fault} in {text}; expected a public Ed25519 key in PEM; \
                 the public half of a private key: openssl pkey -in KEYFILE -pubout"
            ))
        })
    })
}
