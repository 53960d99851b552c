//! What nodes ask of the authority: certificate requests, tokens, proofs. A signature cannot be guessed, so the target signs what the
//! input says. What is certified is the key that signed, under the name in the request, for a client and nothing more; a certificate
//! comes of the right token alone, or of an old certificate of this authority and this name.
#![no_main]

use std::{cell::RefCell, fs, mem::ManuallyDrop, sync::Arc, time::Duration};

use capstan::{
    identity::{self, Identity, Life, Request},
    store::{self, Store},
};
use data_encoding::BASE64;
use libfuzzer_sys::fuzz_target;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use tokio::runtime::Runtime;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// The node's key, made for this target; seeds hold its public half.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDoAfJvH/7PWXi+F4i+Fc4bhmPF6c0bbj1HnyQlLpXqChRANCAARPVHtGa7h9QOqxd9P7fMYaDFDUubFo+GkvaxYYml/wGM5mon9TpLnQFehvXvY1DG6p+ianT/fH3egjfyxiciCb";
const NAME: &str = "lb-1";
/// The signature's algorithm, ecdsa-with-SHA256, in DER.
const ALGORITHM: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// After so many inputs the store begins anew.
const RENEWED: usize = 5000;

struct Office {
    runtime: Runtime,
    store: Store,
    identity: Identity,
    authority: Signer,
    node: Signer,
    /// A request of the node, and the token for it.
    request: Request,
    token: String,
    inputs: usize,
    _folder: tempfile::TempDir,
}

struct Signer(EcdsaKeyPair);

thread_local! {
    // Not dropped at the end of the process, where its threads are gone.
    static OFFICE: RefCell<ManuallyDrop<Option<Office>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

impl Signer {
    fn new(pkcs8: &[u8]) -> Self {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new());
        Self(key.expect("a key"))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
    }

    /// A request, or a certificate, whose content is given.
    fn signed(&self, content: &[u8]) -> Vec<u8> {
        let content = der(0x30, content);
        let signature = [&[0], self.sign(&content).as_slice()].concat();
        der(0x30, &[content, ALGORITHM.to_vec(), der(0x03, &signature)].concat())
    }
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[tag, 0x82], length.as_slice(), content].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

fn request_pem(der: &[u8]) -> String {
    pem("CERTIFICATE REQUEST", der)
}

impl Office {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).expect("a certificate");
        let files = ["ca.crt", "ca.key"].map(|name| folder.path().join(name));
        fs::write(&files[0], certificate.pem()).expect("a file");
        fs::write(&files[1], key.serialize_pem()).expect("a file");
        let [certificate, key_file] = files;
        let settings = identity::Settings {
            life: Duration::from_secs(30 * 86_400),
            ca: Some((certificate, key_file)),
            is_reserved: Arc::new(|name| name == "operator"),
        };
        let node_key = BASE64.decode(KEY.as_bytes()).expect("it is whole");
        let node = KeyPair::try_from(node_key.as_slice()).expect("a key");
        let mut asked = CertificateParams::default();
        asked.distinguished_name = DistinguishedName::new();
        asked.distinguished_name.push(DnType::CommonName, NAME);
        let asked = asked.serialize_request(&node).and_then(|asked| asked.pem()).expect("a request");
        let request = Request::from_pem(&asked).expect("it is good");

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (store, identity, token) = runtime.block_on(async {
            let place = store::Settings::sqlite(folder.path().join("capstan.db"));
            let store = Store::open(&place, identity::MIGRATIONS).await.expect("the store opens");
            let identity = Identity::open(store.clone(), settings).await.expect("an authority");
            let token = identity.admit("n-1", NAME, Duration::from_secs(86_400)).await.expect("a token");
            identity.enrol(token.expose(), &request).await.expect("it is the right token");
            (store, identity, token.expose().to_owned())
        });
        Self {
            runtime,
            store,
            identity,
            authority: Signer::new(&key.serialize_der()),
            node: Signer::new(&node_key),
            request,
            token,
            inputs: 0,
            _folder: folder,
        }
    }

    /// A request that was accepted, and what is certified of it.
    fn is_the_nodes(&self, request: &Request) {
        let name = &request.name;
        assert!((1..=200).contains(&name.len()), "{name:?}");
        assert!(!name.chars().any(|c| c.is_control() || c.is_whitespace()), "{name:?}");
        assert_eq!((request.key.len(), request.key_sha256.len()), (91, 64));
        let life = Life { from: 1_795_700_000_000, until: 1_795_800_000_000 };
        let (_, der) = self.identity.authority().certify(request, life).expect("what is accepted is certified");
        self.is_for_a_client(&der, name, &request.key);
    }

    fn is_for_a_client(&self, der: &[u8], name: &str, key: &[u8]) {
        let (rest, certificate) = parse_x509_certificate(der).expect("a certificate");
        assert!(rest.is_empty());
        let names: Vec<_> = certificate.subject().iter_attributes().map(|one| one.as_str()).collect();
        assert_eq!(names, [Ok(name)]);
        assert_eq!(certificate.public_key().raw, key);
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().expect("it can be read").expect("it is there").value;
        assert!(usage.client_auth && !usage.any && !usage.server_auth && !usage.code_signing, "{usage:?}");
        if let Some(names) = certificate.subject_alternative_name().expect("it can be read") {
            let is_it = |other: &GeneralName<'_>| matches!(other, GeneralName::DNSName(other) if *other == name);
            assert!(names.value.general_names.iter().all(is_it), "{names:?}");
        }
        let (_, ca) = parse_x509_certificate(&self.identity.authority().chain()[0]).expect("a certificate");
        certificate.verify_signature(Some(ca.public_key())).expect("the authority's signature");
    }

    /// Asks for a renewal by this certificate, with the node's own proof.
    fn renew(&self, certificate: &str, signature: &[u8]) -> bool {
        let renewed = self.runtime.block_on(self.identity.renew(certificate, &self.request, signature));
        if let Ok(new) = &renewed {
            assert_eq!((new.name.as_str(), &new.key_sha256), (NAME, &self.request.key_sha256));
        }
        renewed.is_ok()
    }

    fn proof(&self) -> Vec<u8> {
        self.node.sign(&[b"capstan identity renew 1\n", self.request.der.as_slice()].concat())
    }

    fn input(&mut self, kind: u8, bytes: &[u8]) {
        match kind % 6 {
            // A request as text.
            1 => {
                if let Ok(request) = Request::from_pem(&String::from_utf8_lossy(bytes)) {
                    self.is_the_nodes(&request);
                }
            }
            // As DER.
            2 => {
                if let Ok(request) = Request::from_pem(&request_pem(bytes)) {
                    self.is_the_nodes(&request);
                }
            }
            // What it says, signed by the node.
            3 => {
                if let Ok(request) = Request::from_pem(&request_pem(&self.node.signed(bytes))) {
                    // Nobody but the bearer of a key has it certified.
                    assert_eq!(request.key, self.request.key);
                    self.is_the_nodes(&request);
                }
            }
            // What an old certificate says, signed by the authority, which may be an operator's and sign other things too.
            4 => {
                let old = self.authority.signed(bytes);
                if self.renew(&pem("CERTIFICATE", &old), &self.proof()) {
                    let (_, old) = parse_x509_certificate(&old).expect("it was accepted");
                    let mut names = old.subject().iter_common_name();
                    assert_eq!(names.next().map(|name| name.as_str()), Some(Ok(NAME)), "{old:?}");
                    // The key itself; what its algorithm is called is the authority's to say.
                    assert!(self.request.key.ends_with(&old.public_key().subject_public_key.data), "{old:?}");
                    assert!(!old.is_ca() && old.validity().is_valid(), "{old:?}");
                }
            }
            // Tokens, one a line; `@TOKEN@` is the right one.
            5 => {
                let text = String::from_utf8_lossy(bytes).replace("@TOKEN@", &self.token);
                for text in text.lines().take(4) {
                    let enrolled = self.runtime.block_on(self.identity.enrol(text, &self.request));
                    assert_eq!(enrolled.is_ok(), text == self.token, "{text:?}");
                }
            }
            // A certificate and a proof as they are: neither can be guessed.
            _ => {
                let place = bytes.windows(5).position(|window| window == b"\n===\n").unwrap_or(bytes.len());
                let (certificate, proof) = bytes.split_at(place);
                let certificate = String::from_utf8_lossy(certificate);
                assert!(!self.renew(&certificate, proof.get(5..).unwrap_or_default()));
                assert!(!self.renew(&certificate, &self.proof()));
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    OFFICE.with_borrow_mut(|kept| {
        let kept = &mut **kept;
        if kept.as_ref().is_some_and(|office| office.inputs >= RENEWED) {
            let Office { runtime, store, identity, .. } = kept.take().expect("it is there");
            drop(identity);
            runtime.block_on(store.close());
        }
        let office = kept.get_or_insert_with(Office::new);
        office.inputs += 1;
        if let Some((kind, bytes)) = bytes.split_first() {
            office.input(*kind, bytes);
        }
    });
});
