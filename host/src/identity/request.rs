//! What a node asks to be certified (a PKCS #10 request), read strictly: a key of ECDSA P-256 and the node's name. Whatever else stands
//! there is refused rather than passed over, for somebody meant something by it.

use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
use sha2::{Digest, Sha256};
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY},
    prelude::FromDer,
    x509::SubjectPublicKeyInfo,
};

/// Longer requests are not looked at; one of these keys has about 400 bytes.
const LONGEST: usize = 8 * 1024;
/// The longest name of a node.
const LONGEST_NAME: usize = 200;

/// A request that is well formed and signed with the key that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The node's name.
    pub name: String,
    /// The public key as a `SubjectPublicKeyInfo` in DER.
    pub key: Vec<u8>,
    /// SHA-256 of that, in hexadecimal digits.
    pub key_sha256: String,
    /// The whole request in DER.
    pub der: Vec<u8>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate request: found {found}; expected {expected}")]
pub struct RequestFault {
    found: String,
    expected: &'static str,
}

fn fault(found: impl Into<String>, expected: &'static str) -> RequestFault {
    RequestFault { found: found.into(), expected }
}

impl Request {
    /// Reads a request in PEM.
    ///
    /// # Errors
    /// It is too long, no request, not signed with its key, of another key than ECDSA P-256, or asks for more than a name.
    pub fn from_pem(pem: &str) -> Result<Self, RequestFault> {
        const FORM: &str = "one PEM block `CERTIFICATE REQUEST` (PKCS #10)";
        if pem.len() > LONGEST {
            return Err(fault(format!("{} bytes", pem.len()), "8 KiB at most"));
        }
        let der =
            CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| fault("no such block", FORM))?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| fault("a block of another form", FORM))?;
        if !rest.is_empty() {
            return Err(fault("bytes behind its end", FORM));
        }
        let info = &request.certification_request_info;
        let key = point(&info.subject_pki)?;
        request
            .verify_signature()
            .map_err(|_| fault("a signature of another key", "a request signed with its own key"))?;
        let name = name(&request)?;
        only_the_name(&request, &name)?;
        Ok(Self { name, key_sha256: sha256(key), key: key.to_vec(), der: der.to_vec() })
    }
}

/// In hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key in DER, if it is one of ECDSA P-256 that is not compressed.
fn point<'a>(key: &SubjectPublicKeyInfo<'a>) -> Result<&'a [u8], RequestFault> {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let is_p256 = key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256);
    let point = &key.subject_public_key.data;
    if is_p256 && point.len() == 65 && point.first() == Some(&4) {
        return Ok(key.raw);
    }
    Err(fault("another kind of key", "a key of ECDSA P-256"))
}

fn name(request: &X509CertificationRequest<'_>) -> Result<String, RequestFault> {
    const ONE: &str = "the node's name as the only common name, and nothing else in the subject";
    let subject = &request.certification_request_info.subject;
    let mut attributes = subject.iter_attributes();
    let mut names = subject.iter_common_name();
    let (Some(name), None) = (names.next(), attributes.nth(1)) else {
        return Err(fault("another subject", ONE));
    };
    let name = name.as_str().map_err(|_| fault("a common name that is no text", ONE))?;
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(fault("a common name that no node has", "1 to 200 bytes without spaces and control characters"));
    }
    Ok(name.to_owned())
}

fn only_the_name(request: &X509CertificationRequest<'_>, name: &str) -> Result<(), RequestFault> {
    const NOTHING: &str = "no extensions, save the node's name as the only alternative name";
    let mut attributes = 0;
    for attribute in request.certification_request_info.iter_attributes() {
        attributes += 1;
        if attribute.oid != x509_parser::oid_registry::OID_PKCS9_EXTENSION_REQUEST || attributes > 1 {
            return Err(fault("further attributes", NOTHING));
        }
    }
    let Some(extensions) = request.requested_extensions() else {
        return if attributes == 0 { Ok(()) } else { Err(fault("extensions that cannot be read", NOTHING)) };
    };
    for extension in extensions {
        let ParsedExtension::SubjectAlternativeName(names) = extension else {
            return Err(fault("another extension", NOTHING));
        };
        if !names.general_names.iter().all(|other| matches!(other, GeneralName::DNSName(other) if *other == name)) {
            return Err(fault("another alternative name", NOTHING));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    fn pem(name: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    fn refused(pem: &str) -> String {
        Request::from_pem(pem).unwrap_err().to_string()
    }

    #[test]
    fn a_key_and_a_name_are_read_and_nothing_else_is_taken() {
        let read = Request::from_pem(&pem("lb-1", |_| ())).unwrap();
        assert_eq!((read.name.as_str(), read.key.len()), ("lb-1", 91));
        let same =
            pem("lb-1", |params| params.subject_alt_names = vec![rcgen::SanType::DnsName("lb-1".try_into().unwrap())]);
        assert!(Request::from_pem(&same).is_ok());
        let other = |name: &str| vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
        assert!(
            refused(&pem("lb-1", |params| params.subject_alt_names = other("lb-2")))
                .contains("another alternative name")
        );
        let address = rcgen::SanType::IpAddress("10.0.0.1".parse().unwrap());
        assert!(
            refused(&pem("lb-1", |params| params.subject_alt_names = vec![address]))
                .contains("another alternative name")
        );
        let usage = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert!(refused(&pem("lb-1", |params| params.extended_key_usages = usage)).contains("another extension"));
        let ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        assert!(refused(&pem("lb-1", |params| params.is_ca = ca)).contains("another extension"));
        assert!(
            refused(&pem("lb-1", |params| params.distinguished_name.push(DnType::OrganizationName, "x")))
                .contains("subject")
        );
        for bad in ["", "a b", "a\nb", &"x".repeat(201)] {
            assert!(refused(&pem(bad, |_| ())).contains("name"), "{bad}");
        }
    }

    #[test]
    fn other_keys_and_forged_signatures_are_refused() {
        let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "lb-1");
        let text = params.serialize_request(&ed).unwrap().pem().unwrap();
        assert!(refused(&text).contains("ECDSA P-256"));
        let mut der = Request::from_pem(&pem("lb-1", |_| ())).unwrap().der;
        *der.last_mut().unwrap() ^= 1;
        assert!(refused(&block(&der)).contains("signature") || refused(&block(&der)).contains("another form"));
        assert!(refused(&"x".repeat(9000)).contains("9000 bytes"));
        for text in ["", "-----BEGIN CERTIFICATE REQUEST-----", &block(b""), &block(b"\x30\x00")] {
            assert!(Request::from_pem(text).is_err(), "{text}");
        }
    }

    fn block(der: &[u8]) -> String {
        let body = data_encoding::BASE64.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    }

    proptest! {
        #[test]
        fn any_text_and_any_block_is_a_request_or_a_fault(text in ".*", bytes: Vec<u8>) {
            let _ = Request::from_pem(&text);
            let _ = Request::from_pem(&block(&bytes));
        }

        #[test]
        fn a_request_with_a_byte_changed_never_gets_another_name_or_key(at in 0_usize..200, byte: u8) {
            let good = Request::from_pem(&pem("lb-1", |_| ())).unwrap();
            let mut der = good.der.clone();
            let length = der.len();
            der[at % length] = byte;
            if let Ok(read) = Request::from_pem(&block(&der)) {
                prop_assert_eq!((read.name, read.key), (good.name, good.key));
            }
        }
    }
}
