//! The proof by which a certificate is renewed: the old certificate, and the new request signed with the old key.
//!
//! It works through any proxy, where a client certificate of the connection would end at the first one.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};

use super::{Authority, Request};
use crate::tls;

/// What stands before the request in what is signed, so that the signature is good for nothing else.
const CONTEXT: &[u8] = b"capstan identity renew 1\n";

/// Longer certificates are not looked at.
const LONGEST: usize = 16 * 1024;

/// A certificate of this authority whose bearer has shown that he has its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proven {
    pub serial: String,
    pub name: String,
    pub key_sha256: String,
    pub pem: String,
    pub not_after: i64,
}

/// What is signed with the old key.
pub(super) fn message(request: &[u8]) -> Vec<u8> {
    [CONTEXT, request].concat()
}

impl Proven {
    /// Checks a proof. `now`: milliseconds since 1970. The reason of a refusal is for the log.
    pub fn of(
        authority: &Authority,
        certificate: &str,
        request: &Request,
        signature: &[u8],
        now: i64,
    ) -> Result<Self, &'static str> {
        if certificate.len() > LONGEST {
            return Err("too_long");
        }
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| "no_certificate")?;
        let (_, old) = x509_parser::parse_x509_certificate(&der).map_err(|_| "no_certificate")?;
        let signer = authority.chain().first().ok_or("no_authority")?;
        let (_, signer) = x509_parser::parse_x509_certificate(signer).map_err(|_| "no_authority")?;
        if old.issuer() != signer.subject() || old.verify_signature(Some(signer.public_key())).is_err() {
            return Err("another_authority");
        }
        let is_client = old.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.client_auth);
        if !is_client || old.is_ca() {
            return Err("no_node");
        }
        let (from, until) = (old.validity().not_before.timestamp(), old.validity().not_after.timestamp());
        if now < from.saturating_mul(1000) {
            return Err("not_yet_valid");
        }
        if now >= until.saturating_mul(1000) {
            return Err("expired");
        }
        let (_, key) = SubjectPublicKeyInfo::from_der(old.public_key().raw).map_err(|_| "no_key")?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.subject_public_key.data)
            .verify(&message(&request.der), signature)
            .map_err(|_| "wrong_signature")?;
        let name = tls::common_name(&der).ok_or("no_name")?;
        if name != request.name {
            return Err("another_name");
        }
        Ok(Self {
            serial: tls::serial(&der).ok_or("no_serial")?,
            name,
            key_sha256: super::request::sha256(old.public_key().raw),
            pem: certificate.to_owned(),
            not_after: until.saturating_mul(1000),
        })
    }
}
