//! The authority on both backends, with two daemons on one store.
#![allow(clippy::panic, clippy::unwrap_used, reason = "all of this file is tests")]

mod store_support;

use std::{sync::Arc, time::Duration};

use capstan::{
    identity::{Identity, Issuing, MIGRATIONS, Refused, Request, Settings, expel},
    store::Store,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use store_support::{Place, within};
use tokio::sync::watch;

fn request(name: &str, key: &KeyPair) -> Request {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Request::from_pem(&params.serialize_request(key).unwrap().pem().unwrap()).unwrap()
}

async fn open(store: &Store) -> Identity {
    let settings = Settings { life: Duration::from_secs(86_400), ca: None, is_reserved: Arc::new(|_| false) };
    Identity::open(store.clone(), settings).await.unwrap()
}

async fn one_authority(place: Place) {
    let store = place.try_open(MIGRATIONS).await.unwrap();
    // Both make an authority at the same moment; one's is kept.
    let (one, two) = tokio::join!(open(&store), open(&store));
    assert_eq!(one.authority().fingerprint(), two.authority().fingerprint());
    let token = one.admit("7", "lb-7", Duration::from_secs(60)).await.unwrap();
    assert_eq!(two.admit("7", "lb-7", Duration::from_secs(60)).await.unwrap(), token);

    // Of two that come with the same token at the same moment and different keys, one gets a certificate.
    let (first, second) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (a, b) = (request("lb-7", &first), request("lb-7", &second));
    let outcomes = tokio::join!(one.enrol(token.expose(), &a), two.enrol(token.expose(), &b));
    let certificate = match outcomes {
        (Ok(certificate), Err(Refused::Token("used"))) | (Err(Refused::Token("used")), Ok(certificate)) => certificate,
        other => panic!("{other:?}"),
    };

    // What one revokes, or whoever deletes the node, the other refuses.
    let (end, ending) = watch::channel(false);
    let keeping = tokio::spawn(two.clone().keep(Issuing::default(), ending));
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    one.revoke(&certificate.serial, "stolen").await.unwrap().unwrap();
    assert!(one.local().revocations.contains(&der(&certificate.pem)));
    let hears = async |pem: &str| {
        while !two.local().revocations.contains(&der(pem)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the other daemon hears of a revocation", hears(&certificate.pem)).await;
    let token = one.admit("8", "lb-8", Duration::from_secs(60)).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = two.enrol(token.expose(), &request("lb-8", &key)).await.unwrap();
    store.write(|tx| expel(tx, "lb-8", "the node is deleted")).await.unwrap();
    within("the other daemon hears of a deletion", hears(&certificate.pem)).await;
    assert!(matches!(one.enrol(token.expose(), &request("lb-8", &key)).await, Err(Refused::Token("unknown"))));
    assert!(one.revoke("abc", "x").await.unwrap().is_none());
    end.send_replace(true);
    keeping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    one_authority(Place::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    one_authority(Place::postgres()).await;
}
