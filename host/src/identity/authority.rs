//! The authority: a key, its certificate, and what is signed with it.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;

use super::Request;

/// Ten years.
const LIFE_OF_AN_AUTHORITY: time::Duration = time::Duration::days(3653);

/// What is certified holds since an hour ago: a node's clock may be behind.
const BEFORE: i64 = 3_600_000;

/// Why there is no authority, or why it does not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The certificate is of no use.
    #[error(
        "the authority's certificate cannot be used: {0}; expected a certificate of an authority in PEM, the one that signs first"
    )]
    Certificate(String),
    /// The key is of no use.
    #[error("the authority's key cannot be used: {0}; expected its private key in PEM (PKCS #8), not encrypted")]
    Key(String),
    /// Both are good and do not belong together.
    #[error("the authority's certificate belongs to another key; name a certificate and a key that belong together")]
    Apart,
    /// The system gives no randomness, or nothing can be signed.
    #[error("nothing can be signed: {0}")]
    Signing(String),
}

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Signing(error.to_string())
    }
}

/// From when to when a certificate holds, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it is made.
    pub from: i64,
    /// When it ends.
    pub until: i64,
}

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The certificate that signs, then those above it.
    chain: Vec<CertificateDer<'static>>,
    pem: String,
}

impl Authority {
    /// Makes a new one: the certificate and the key, both in PEM. The key is of ECDSA P-256.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate(deployment: &str, now: i64) -> Result<(String, String), AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Capstan");
        params.distinguished_name.push(DnType::CommonName, format!("Capstan nodes of {deployment}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.not_before = date(now - BEFORE);
        params.not_after = date(now).saturating_add(LIFE_OF_AN_AUTHORITY);
        params.serial_number = Some(new_serial()?);
        let certificate = params.self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// The authority of this certificate, followed by those above it, and this key, in PEM.
    ///
    /// # Errors
    /// One of them is of no use, or they do not belong together.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, AuthorityError> {
        let fault = |text: String| AuthorityError::Certificate(text);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| fault(format!("it is not valid PEM ({error})")))?;
        let first = chain.first().ok_or_else(|| fault("it holds no certificate".to_owned()))?;
        let key = KeyPair::from_pem(key).map_err(|error| AuthorityError::Key(error.to_string()))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(first).map_err(|error| fault(format!("it is not valid ({error})")))?;
        if !parsed.is_ca() {
            return Err(fault("it is no authority's (basicConstraints)".to_owned()));
        }
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::Apart);
        }
        let issuer = Issuer::from_ca_cert_der(first, key).map_err(|error| fault(error.to_string()))?;
        Ok(Self { issuer, chain, pem: certificates.to_owned() })
    }

    /// Its certificate, then those above it, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The same in DER.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The SHA-256 of its certificate, in hexadecimal digits, by which nodes may know it.
    pub fn fingerprint(&self) -> String {
        self.chain.first().map(|certificate| super::request::sha256(certificate)).unwrap_or_default()
    }

    /// Certifies that whoever has the key of this request is the node of its name. Gives the certificate in PEM, and in DER.
    ///
    /// # Errors
    /// Nothing can be signed.
    pub fn certify(&self, request: &Request, life: Life) -> Result<(String, Vec<u8>), AuthorityError> {
        let mut params = named(&request.name, life)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        // A name that no host can have stands in the subject alone.
        params.subject_alt_names = request.name.as_str().try_into().map(SanType::DnsName).into_iter().collect();
        let key = SubjectPublicKeyInfo::from_der(&request.key)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), certificate.der().to_vec()))
    }

    /// Certifies this daemon to its own servers, under this name, for which none of them has to be told anything.
    ///
    /// # Errors
    /// Nothing can be signed.
    pub fn certify_own_client(&self, name: &str, life: Life) -> Result<rustls::ClientConfig, AuthorityError> {
        let signing = |error: rustls::Error| AuthorityError::Signing(error.to_string());
        let key = KeyPair::generate()?;
        let mut params = named(name, life)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|error| AuthorityError::Signing(error.to_owned()))?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(self.chain.iter().cloned());
        rustls::ClientConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(signing)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .map_err(signing)
    }

    /// Certifies a server of this daemon, for names and addresses by which it is reached.
    ///
    /// # Errors
    /// Nothing can be signed, or a name is none.
    pub fn certify_server(&self, names: &[String], life: Life) -> Result<rustls::sign::CertifiedKey, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = named("Capstan", life)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        let certificate = params.signed_by(&key, &self.issuer)?;
        // With the authority's own: who knows it by its fingerprint finds it there.
        let chain = std::iter::once(certificate.der().clone()).chain(self.chain.iter().cloned()).collect();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|error| AuthorityError::Signing(error.to_owned()))?;
        rustls::sign::CertifiedKey::from_der(chain, key, &crate::tls::provider())
            .map_err(|error| AuthorityError::Signing(error.to_string()))
    }
}

fn named(name: &str, life: Life) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date(life.from - BEFORE);
    params.not_after = date(life.until);
    params.serial_number = Some(new_serial()?);
    Ok(params)
}

/// 127 random bits, always as long as that.
fn new_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| AuthorityError::Signing("the system gives no random numbers".to_owned()))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn date(milliseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(milliseconds.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
