//! `capstan driver keygen`.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::sign::beside;
use crate::{
    cli::{
        exit::{Failure, Outcome},
        output::{self, Output},
        place::Place,
    },
    drivers::PrivateKey,
};

/// Both files are in PEM. Keep the private one where drivers are built and nowhere else; the public one goes to every host
/// that is to trust them.
#[derive(Debug, Args)]
#[command(
    after_help = "`openssl genpkey -algorithm ed25519 -out acme.key` and `openssl pkey -in acme.key -pubout -out acme.key.pub` \
make the same.\n\nExample: capstan driver keygen acme.key"
)]
pub struct Arguments {
    /// File of the private key; the public one gets .pub at its end. Neither may exist
    #[arg(value_name = "KEYFILE")]
    key: PathBuf,
}

pub(super) fn keygen(place: &Place, Arguments { key: path }: &Arguments) -> Outcome {
    let (key, pem) =
        PrivateKey::generate().map_err(|_| Failure::Unavailable("the system gave no random bytes".to_owned()))?;
    let public_path = beside(path, ".pub");
    create(path, 0o600, &pem)?;
    create(&public_path, 0o644, &key.public_pem())?;
    let (id, line) = (key.public().id(), key.public().to_string());
    match place.output {
        Output::Json => output::json(&json!({
            "private_key": path.display().to_string(), "public_key": public_path.display().to_string(),
            "key": id, "signature_key": line,
        })),
        Output::Table => {
            for (name, value) in [
                ("private key", path.display().to_string()),
                ("public key", public_path.display().to_string()),
                ("key id", id),
                ("in capstan.toml", format!("signature_key = \"{line}\"")),
            ] {
                output::line(&format!("{name:17}{value}"));
            }
        }
    }
    Ok(())
}

fn create(path: &Path, mode: u32, text: &str) -> Outcome {
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::Usage(format!("{} exists, and a key is not overwritten; choose another name", path.display()))
        }
        _ => Failure::Failed(format!("{} cannot be written: {error}", path.display())),
    })
}
