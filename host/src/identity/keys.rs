//! The secrets behind it all: the authority's key, and the key that tokens are made with. They are made at the first use and kept in
//! the store, so that every daemon of a deployment signs and makes the same.

use std::fs;

use data_encoding::HEXLOWER;
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use super::{Authority, AuthorityError, Settings, records};
use crate::store::{Error, Store};

/// Which secret; the words are the store's.
const AUTHORITY: &str = "authority";
const TOKENS: &str = "tokens";

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read.
    #[error("{key}: {path} cannot be read: {source}")]
    File {
        /// The configuration's key.
        key: &'static str,
        /// The file.
        path: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The authority is of no use.
    #[error("identity: {0}")]
    Authority(#[from] AuthorityError),
    /// The store's word.
    #[error("identity: {0}")]
    Store(#[from] Error),
}

/// Both secrets, made if they are not there yet.
pub(super) async fn open(store: &Store, settings: &Settings) -> Result<(Authority, hmac::Key), KeyError> {
    let authority = match &settings.ca {
        Some((certificate, key)) => {
            let read = |name: &'static str, path: &std::path::Path| {
                fs::read_to_string(path).map_err(|source| KeyError::File {
                    key: name,
                    path: path.display().to_string(),
                    source,
                })
            };
            Authority::from_pem(&read("identity.ca_cert", certificate)?, &read("identity.ca_key", key)?)?
        }
        None => kept(store).await?,
    };
    let mut bytes = [0; 64];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Signing("the system gives no random numbers".to_owned()))?;
    let new = HEXLOWER.encode(&bytes);
    let secret = store
        .write(move |tx| {
            records::keep_key(tx, TOKENS, &new, None)?;
            records::key(tx, TOKENS)
        })
        .await?;
    let secret = secret.map(|(secret, _)| secret).unwrap_or_default();
    let secret = HEXLOWER
        .decode(secret.as_bytes())
        .ok()
        .filter(|secret| secret.len() == 64)
        .ok_or_else(|| Error::Invalid("the key of the enrolment tokens cannot be read".to_owned()))?;
    Ok((authority, hmac::Key::new(hmac::HMAC_SHA512, &secret)))
}

/// The authority of the store. Of several daemons that make one at the same time, one's is kept.
async fn kept(store: &Store) -> Result<Authority, KeyError> {
    let (found, now) = store.read(|tx| Ok::<_, Error>((records::key(tx, AUTHORITY)?, tx.now()))).await?;
    let found = match found {
        Some(found) => found,
        None => {
            let (certificate, key) = Authority::generate(store.deployment(), now)?;
            let kept = store
                .write(move |tx| {
                    records::keep_key(tx, AUTHORITY, &key, Some(&certificate))?;
                    records::key(tx, AUTHORITY)
                })
                .await?;
            let kept = kept.ok_or_else(|| Error::NotFound("authority".to_owned()))?;
            tracing::info!("an authority for the certificates of nodes is made");
            kept
        }
    };
    let (key, certificate) = found;
    Ok(Authority::from_pem(&certificate.unwrap_or_default(), &key)?)
}
