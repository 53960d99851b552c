//! Private keys: made, read and used by the commands of who signs. The daemon has none.

use std::fmt;

use data_encoding::BASE64;
use ring::{
    error::Unspecified,
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use rustls::pki_types::pem::SectionKind;

use super::{sha256, signature};
use crate::config::{KeyFault, PublicKey, pem_section};

/// What stands before the 32 bytes of an Ed25519 private key in PKCS #8 version 1 (RFC 8410, section 7), the form that
/// `openssl genpkey` writes.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// An Ed25519 private key.
pub struct PrivateKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl PrivateKey {
    fn new(pair: Ed25519KeyPair) -> Result<Self, KeyFault> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| KeyFault::OtherKind)?;
        Ok(Self { pair, public: PublicKey::new(public) })
    }

    /// Makes a key; answers it with its PEM text.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> Result<(Self, String), Unspecified> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Unspecified)?;
        let key = Self::new(pair).map_err(|_| Unspecified)?;
        Ok((key, pem("PRIVATE KEY", &[&PKCS8_PREFIX[..], &seed].concat())))
    }

    /// Reads the PEM text of a PKCS #8 key.
    ///
    /// # Errors
    /// What the text is instead.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        match pem_section(text)? {
            (SectionKind::PrivateKey, der) => {
                Self::new(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| KeyFault::OtherKind)?)
            }
            (SectionKind::PublicKey, _) => Err(KeyFault::Public),
            (SectionKind::Certificate, _) => Err(KeyFault::Certificate),
            _ => Err(KeyFault::OtherKind),
        }
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The PEM text of its public half.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public.to_der())
    }

    /// The line that vouches for a file of this content.
    pub fn sign(&self, file: &[u8]) -> String {
        let signed = self.pair.sign(signature::message(&sha256(file)).as_bytes());
        signature::line(&self.public, signed.as_ref())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PrivateKey({})", self.public.id())
    }
}

/// PEM of less than 49 bytes, which is one line (RFC 7468, section 2).
fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64.encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_own_text_and_says_what_others_are() {
        let (key, pem) = PrivateKey::generate().unwrap();
        assert_eq!(PrivateKey::parse(&pem).unwrap().public(), key.public());
        assert_eq!(PublicKey::parse(&key.public_pem()), Ok(key.public()));
        assert!(!format!("{key:?}").contains(&pem[28..60]));
        let fault = |text: &str| PrivateKey::parse(text).unwrap_err();
        assert_eq!(fault(&key.public_pem()), KeyFault::Public);
        assert_eq!(fault("nothing"), KeyFault::Nothing);
        assert_eq!(fault(&pem.replace("PRIVATE", "EC PRIVATE")), KeyFault::OtherKind);
        assert_eq!(fault(&pem.replace("PRIVATE", "ENCRYPTED PRIVATE")), KeyFault::Protected);
        assert_eq!(fault(&pem.replace("MC4C", "MC4D")), KeyFault::OtherKind);
    }
}
