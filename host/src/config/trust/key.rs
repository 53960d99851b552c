//! Public keys that signatures of drivers' files are held against: Ed25519 in the forms that `openssl pkey` writes.

use std::{fmt, path::PathBuf, str};

use data_encoding::{BASE64, HEXLOWER};
use rustls::pki_types::pem::{PemObject, SectionKind};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config::{
    read::{Field, Node, Refusal, Shown},
    text_file,
};

/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410, section 4 and 10.1).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The prefix in base64: 12 bytes are 16 characters, whatever follows.
const SPKI_PREFIX_TEXT: &str = "MCowBQYDK2VwAyEA";

/// An Ed25519 public key.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct PublicKey([u8; 32]);

/// Why a text is no public key. `Display` is what was found; no part of the text is shown.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[allow(missing_docs)] // the texts say it
pub enum KeyFault {
    #[error("a certificate")]
    Certificate,
    #[error("no key at all")]
    Nothing,
    #[error("a key of another kind than Ed25519")]
    OtherKind,
    #[error("a private key")]
    Private,
    #[error("a private key that a password protects")]
    Protected,
    #[error("a public key")]
    Public,
}

impl PublicKey {
    /// The key of these 32 bytes (RFC 8032, 5.1.5).
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads PEM, or the one line of base64 that PEM has between its markers.
    ///
    /// # Errors
    /// What the text is instead.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let text = text.trim();
        if text.starts_with(SPKI_PREFIX_TEXT) {
            return BASE64.decode(text.as_bytes()).map_err(|_| KeyFault::Nothing).and_then(|der| Self::from_der(&der));
        }
        match pem_section(text)? {
            (SectionKind::PublicKey, der) => Self::from_der(&der),
            (SectionKind::Certificate, _) => Err(KeyFault::Certificate),
            _ => Err(KeyFault::Private),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyFault> {
        let key = der.strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(KeyFault::OtherKind)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// A short name: the first 16 digits of the SHA-256 of [`PublicKey::to_der`]. It says which key is meant and proves nothing.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.to_der());
        HEXLOWER.encode(digest.get(..8).unwrap_or_default())
    }
}

/// The one line of base64 that [`PublicKey::parse`] takes.
impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&BASE64.encode(&self.to_der()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicKey({})", self.id())
    }
}

/// The first section of a PEM text.
pub(crate) fn pem_section(text: &str) -> Result<(SectionKind, Vec<u8>), KeyFault> {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err(KeyFault::Protected);
    }
    PemObject::from_pem_slice(text.as_bytes()).map_err(|_| KeyFault::Nothing)
}

/// A public key as the configuration names it: by a file, or by itself.
#[derive(Clone, Debug)]
pub(in crate::config) struct SignatureKey {
    pub(in crate::config) key: PublicKey,
    /// The file and its mode.
    pub(in crate::config) file: Option<(PathBuf, u32)>,
}

impl Shown for SignatureKey {
    fn shown(&self) -> Json {
        match &self.file {
            Some((path, _)) => path.display().to_string().into(),
            None => self.key.to_string().into(),
        }
    }
}

impl Field for SignatureKey {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        const LIMIT: u64 = 64 * 1024;
        let text = String::parse(node)?;
        let is_key = text.trim_start().starts_with(SPKI_PREFIX_TEXT) || text.contains("-----BEGIN");
        let (place, content, file) = if is_key {
            ("a text".to_owned(), text, None)
        } else {
            let path = PathBuf::parse(node)?;
            let place = format!("the file {}", path.display());
            match text_file::read(&path, LIMIT) {
                Ok((content, mode)) => (place, content, Some((path, mode))),
                Err(error) => {
                    return Err(refusal(
                        format!("{place} unreadable ({error})"),
                        "create it, correct its permissions, or write the key itself: the line of base64 in its PEM file",
                    ));
                }
            }
        };
        let key = PublicKey::parse(&content).map_err(|fault| {
            let remedy = match fault {
                KeyFault::Private | KeyFault::Protected => {
                    "keep the private key where files are signed, and name the public one: openssl pkey -in KEY -pubout"
                }
                KeyFault::Certificate => "take the key out of it: openssl x509 -in CERTIFICATE -noout -pubkey",
                _ => "take the public key of the vendor whose files are trusted; `capstan driver keygen` makes a pair",
            };
            refusal(format!("{place} with {fault}"), remedy)
        })?;
        Ok(Self { key, file })
    }
}

fn refusal(found: String, remedy: &str) -> Refusal {
    let expected = "an Ed25519 public key: a PEM file, or the line of base64 in it".to_owned();
    Refusal { found, expected, remedy: remedy.to_owned(), origin: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 8410, 10.1; its id by `openssl pkey -pubin -outform DER | sha256sum`.
    const RFC: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";

    #[test]
    fn a_public_key_is_read_in_both_forms_and_shown_in_one() {
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{RFC}\n-----END PUBLIC KEY-----\n");
        for text in [RFC, &pem, &format!("  {RFC}\n"), &format!("a remark\n{pem}")] {
            let key = PublicKey::parse(text).unwrap();
            assert_eq!(key.to_string(), RFC);
            assert_eq!(format!("{key:?}"), "PublicKey(a1e9156054e04fac)");
        }
    }

    #[test]
    fn what_is_no_public_key_is_called_by_its_name() {
        let pem = |kind: &str| format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", &RFC[..56]);
        for (text, fault) in [
            (String::new(), KeyFault::Nothing),
            ("hello".to_owned(), KeyFault::Nothing),
            (RFC[..40].to_owned(), KeyFault::OtherKind),
            (format!("{RFC}!"), KeyFault::Nothing),
            (pem("PUBLIC KEY"), KeyFault::OtherKind),
            (pem("PRIVATE KEY"), KeyFault::Private),
            (pem("EC PRIVATE KEY"), KeyFault::Private),
            (pem("ENCRYPTED PRIVATE KEY"), KeyFault::Protected),
            (pem("CERTIFICATE"), KeyFault::Certificate),
        ] {
            assert_eq!(PublicKey::parse(&text), Err(fault), "{text}");
        }
    }
}
