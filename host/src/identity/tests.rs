//! The exchange over a store whose clock stands where it is put.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SigningKey};

use super::{Certificate, Identity, MIGRATIONS, Refused, Request, Settings, TokenState, expel, proof};
use crate::store::{self, Clock, Store};

const DAY: i64 = 86_400_000;
/// 2026-11-26.
const START: i64 = 1_795_700_000_000;

struct World {
    _folder: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    store: Store,
    identity: Identity,
}

fn settings() -> Settings {
    Settings { life: Duration::from_secs(30 * 86_400), ca: None, is_reserved: Arc::new(|name| name == "operator") }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(START));
        let mut place = store::Settings::sqlite(folder.path().join("capstan.db"));
        place.clock = Clock::Manual(Arc::clone(&clock));
        let store = Store::open(&place, MIGRATIONS).await.unwrap();
        let identity = Identity::open(store.clone(), settings()).await.unwrap();
        Self { _folder: folder, clock, store, identity }
    }

    fn at(&self, time: i64) {
        self.clock.store(START + time, Ordering::SeqCst);
    }

    async fn enrolled(&self, name: &str) -> Node {
        let token = self.identity.admit("node", name, Duration::from_secs(600)).await.unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = self.identity.enrol(token.expose(), &request(name, &key)).await.unwrap();
        Node { key, certificate }
    }

    async fn renew(&self, node: &Node, key: &KeyPair) -> Result<Certificate, Refused> {
        let request = request(&node.certificate.name, key);
        let signature = node.key.sign(&proof::message(&request.der)).unwrap();
        self.identity.renew(&node.certificate.pem, &request, &signature).await
    }
}

struct Node {
    key: KeyPair,
    certificate: Certificate,
}

fn request(name: &str, key: &KeyPair) -> Request {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Request::from_pem(&params.serialize_request(key).unwrap().pem().unwrap()).unwrap()
}

fn why<T: std::fmt::Debug>(outcome: Result<T, Refused>) -> &'static str {
    match outcome.unwrap_err() {
        Refused::Token(reason) | Refused::Certificate(reason) => reason,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_token_is_good_once_for_its_name_and_for_its_time() {
    let world = World::new().await;
    let token = world.identity.admit("7", "lb-7", Duration::from_secs(600)).await.unwrap();
    // The cloud may be asked again in the same words.
    assert_eq!(world.identity.admit("7", "lb-7", Duration::from_secs(600)).await.unwrap(), token);
    assert_ne!(world.identity.admit("8", "lb-8", Duration::from_secs(600)).await.unwrap(), token);
    let key = KeyPair::generate().unwrap();
    let enrol = async |token: &str, name: &str, key: &KeyPair| world.identity.enrol(token, &request(name, key)).await;

    assert_eq!(why(enrol("nonsense", "lb-7", &key).await), "malformed");
    let (id, secret) = (token.id().to_owned(), token.expose().rsplit_once('_').unwrap().1.to_owned());
    let turned: String = secret.chars().rev().collect();
    assert_eq!(why(enrol(&format!("cap_{id}_{turned}"), "lb-7", &key).await), "wrong");
    assert_eq!(why(enrol(&format!("cap_aaaaaaaaaa_{secret}"), "lb-7", &key).await), "unknown");
    assert_eq!(why(enrol(token.expose(), "lb-8", &key).await), "another_name");

    let first = enrol(token.expose(), "lb-7", &key).await.unwrap();
    assert_eq!(first.not_after.0, START + 30 * DAY);
    // The answer was lost: the same key asks again, and gets the same. Any other key gets nothing.
    assert_eq!(enrol(token.expose(), "lb-7", &key).await.unwrap().serial, first.serial);
    assert_eq!(why(enrol(token.expose(), "lb-7", &KeyPair::generate().unwrap()).await), "used");
    world.at(600_001);
    assert_eq!(why(enrol(token.expose(), "lb-7", &key).await), "expired");
    assert!(matches!(world.identity.admit("9", "operator", Duration::from_secs(1)).await, Err(Refused::Name(_))));
}

#[tokio::test]
async fn a_token_that_is_revoked_stays_so_however_often_the_cloud_is_asked() {
    let world = World::new().await;
    let token = world.identity.admit("7", "lb-7", Duration::from_secs(600)).await.unwrap();
    let revoked = world.identity.revoke_token(token.id(), "leaked").await.unwrap().unwrap();
    assert_eq!((revoked.state, revoked.reason.as_deref()), (TokenState::Revoked, Some("leaked")));
    assert_eq!(world.identity.admit("7", "lb-7", Duration::from_secs(600)).await.unwrap(), token);
    let key = KeyPair::generate().unwrap();
    assert_eq!(why(world.identity.enrol(token.expose(), &request("lb-7", &key)).await), "revoked");
    assert_eq!(world.identity.revoke_token("aaaaaaaaaa", "x").await.unwrap(), None);
}

#[tokio::test]
async fn a_certificate_is_renewed_between_its_beginning_and_its_end() {
    let world = World::new().await;
    let node = world.enrolled("lb-7").await;
    let next = KeyPair::generate().unwrap();
    world.at(-DAY);
    assert_eq!(why(world.renew(&node, &next).await), "not_yet_valid");
    world.at(30 * DAY + 1000);
    assert_eq!(why(world.renew(&node, &next).await), "expired");
    world.at(29 * DAY);
    let renewed = world.renew(&node, &next).await.unwrap();
    assert_eq!(renewed.not_after.0, START + 59 * DAY);
    assert_eq!((renewed.node.as_str(), renewed.origin.as_str()), ("node", "renewal"));
    // Asked again after a lost answer.
    assert_eq!(world.renew(&node, &next).await.unwrap().serial, renewed.serial);

    let other = Node { key: KeyPair::generate().unwrap(), certificate: node.certificate.clone() };
    assert_eq!(why(world.renew(&other, &next).await), "wrong_signature");
    let asked = request("lb-8", &next);
    let signature = node.key.sign(&proof::message(&asked.der)).unwrap();
    assert_eq!(why(world.identity.renew(&node.certificate.pem, &asked, &signature).await), "another_name");
    let elsewhere = World::new().await;
    assert_eq!(why(elsewhere.renew(&node, &next).await), "another_authority");

    world.identity.revoke(&node.certificate.serial, "stolen").await.unwrap().unwrap();
    assert_eq!(why(world.renew(&node, &KeyPair::generate().unwrap()).await), "revoked");
    let renewed = Node { key: next, certificate: renewed };
    assert!(world.renew(&renewed, &KeyPair::generate().unwrap()).await.is_ok());
}

#[tokio::test]
async fn who_is_expelled_comes_in_no_way_back() {
    let world = World::new().await;
    let node = world.enrolled("lb-7").await;
    let unused = world.identity.admit("8", "lb-7", Duration::from_secs(600)).await.unwrap();
    world.store.write(|tx| expel(tx, "lb-7", "the node is deleted")).await.unwrap();
    let next = KeyPair::generate().unwrap();
    assert_eq!(why(world.renew(&node, &next).await), "revoked");
    assert_eq!(why(world.identity.enrol(unused.expose(), &request("lb-7", &next)).await), "unknown");
    world.identity.refresh(&mut None).await.unwrap();
    let list = world.identity.local().revocations;
    let der = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        node.certificate.pem.as_bytes(),
    );
    assert!(list.contains(&der.unwrap()));
}

#[tokio::test]
async fn a_certificate_younger_than_the_store_is_renewed_if_its_node_is_known() {
    let world = World::new().await;
    let node = world.enrolled("lb-7").await;
    let renewed = Node { key: KeyPair::generate().unwrap(), certificate: node.certificate.clone() };
    let renewed = Node { certificate: world.renew(&node, &renewed.key).await.unwrap(), key: renewed.key };
    let forget = |serial: String| {
        world.store.write(move |tx| tx.execute("DELETE FROM identity_certificates WHERE serial = $1", &[&serial]))
    };
    forget(renewed.certificate.serial.clone()).await.unwrap();
    let again = world.renew(&renewed, &KeyPair::generate().unwrap()).await.unwrap();
    let all = world.identity.list(Some("lb-7".to_owned()), (i64::MIN, String::new()), 10).await.unwrap();
    assert!(all.iter().any(|one| one.serial == renewed.certificate.serial && one.origin == "recorded"));
    for serial in [&node.certificate.serial, &renewed.certificate.serial, &again.serial] {
        forget(serial.clone()).await.unwrap();
    }
    assert_eq!(why(world.renew(&renewed, &KeyPair::generate().unwrap()).await), "unknown");
}

#[tokio::test]
async fn all_daemons_of_a_store_are_one_authority() {
    let world = World::new().await;
    let other = Identity::open(world.store.clone(), settings()).await.unwrap();
    assert_eq!(other.authority().fingerprint(), world.identity.authority().fingerprint());
    let token = other.admit("7", "lb-7", Duration::from_secs(600)).await.unwrap();
    assert_eq!(world.identity.admit("7", "lb-7", Duration::from_secs(600)).await.unwrap(), token);
    let key = KeyPair::generate().unwrap();
    let certificate = world.identity.enrol(token.expose(), &request("lb-7", &key)).await.unwrap();
    let node = Node { key, certificate };
    let next = request("lb-7", &KeyPair::generate().unwrap());
    let signature = node.key.sign(&proof::message(&next.der)).unwrap();
    assert!(other.renew(&node.certificate.pem, &next, &signature).await.is_ok());
    let row = world.store.read(|tx| tx.query_one("SELECT sha256 FROM identity_tokens", &[])).await.unwrap().unwrap();
    assert_eq!(row.get::<String>("sha256").unwrap(), token.sha256());
}

#[tokio::test]
async fn renewals_of_one_name_are_bounded() {
    let world = World::new().await;
    let node = world.enrolled("lb-7").await;
    for _ in 0..super::service::MOST_AN_HOUR - 1 {
        world.renew(&node, &KeyPair::generate().unwrap()).await.unwrap();
    }
    assert!(matches!(world.renew(&node, &KeyPair::generate().unwrap()).await, Err(Refused::TooMany)));
    world.at(3_600_001);
    assert!(world.renew(&node, &KeyPair::generate().unwrap()).await.is_ok());
}

#[test]
fn an_authority_of_files_is_held_against_its_key() {
    let (certificate, key) = super::Authority::generate("x", START).unwrap();
    assert!(super::Authority::from_pem(&certificate, &key).is_ok());
    let (_, other) = super::Authority::generate("x", START).unwrap();
    let fault = |certificate: &str, key: &str| super::Authority::from_pem(certificate, key).err().unwrap().to_string();
    assert!(fault(&certificate, &other).contains("belong together"));
    assert!(fault("", &key).contains("no certificate"));
    assert!(fault(&certificate, "nonsense").contains("authority's key"));
    let leaf = CertificateParams::new(vec!["a".to_owned()]).unwrap();
    let own = KeyPair::generate().unwrap();
    assert!(fault(&leaf.self_signed(&own).unwrap().pem(), &own.serialize_pem()).contains("no authority's"));
}
