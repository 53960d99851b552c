//! `[identity]`, and servers that show a certificate of the daemon's own authority: what is taken, and what is told of the rest.

// A test that cannot go on has failed, in its helping functions too.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, fs};

use capstan::config::{self, ClientAuth, Config, load, show_text};

fn faults(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capstan.toml");
    fs::write(folder.path().join("a.pem"), "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n").unwrap();
    fs::write(&path, text).unwrap();
    let faults = load(&path, &BTreeMap::new()).unwrap_err();
    faults.as_slice().iter().map(ToString::to_string).collect()
}

fn good(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capstan.toml");
    fs::write(&path, text).unwrap();
    load(&path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}")).config
}

#[test]
fn each_fault_says_what_to_do() {
    let tls = "enrol_url = \"https://10.0.0.1:8770\"\n";
    for (text, says) in [
        ("[identity]\nurl = \"http://10.0.0.1:8770\"".to_owned(), "use https"),
        ("[identity]\nurl = \"https://10.0.0.1\"".to_owned(), "https://HOST:PORT"),
        ("[identity]\nca_cert = \"a.pem\"".to_owned(), "ca_cert and ca_key together"),
        ("[identity]\nca_key = \"a.pem\"".to_owned(), "ca_cert and ca_key together"),
        (format!("[identity]\n{tls}"), "ca_fingerprint"),
        (format!("[identity]\n{tls}ca_fingerprint = \"abc\""), "64 hexadecimal digits"),
        (format!("[identity]\n{tls}ca = \"x\"\ntoken = 7"), "the token"),
        (format!("[identity]\n{tls}ca = \"x\"\ntoken = {{ file = \"/nonexistent\" }}"), "/nonexistent"),
        ("[identity]\ncertificate_seconds = 0".to_owned(), "above 0"),
        ("[identity]\nurll = \"x\"".to_owned(), "did you mean \"url\"?"),
        ("[http.tls]\nnames = [\"10.0.0.1\"]".to_owned(), "lbaas or pool-manager"),
        ("[gearman.embedded_tls]\nnames = [\"10.0.0.1\"]".to_owned(), "lbaas or pool-manager"),
        ("[daemon]\nroles = [\"lbaas\"]\n[http.tls]\nnames = [\"10.0.0.1:80\"]".to_owned(), "without ports"),
        ("[daemon]\nroles = [\"lbaas\"]\n[http.tls]\nnames = [\"a\"]\ncert = \"a.pem\"".to_owned(), "or cert and key"),
    ] {
        let found = faults(&text);
        assert!(found.len() == 1 && found[0].contains(says), "{text}\n{found:#?}");
    }
}

#[test]
fn names_open_the_listeners_to_the_network() {
    let config = good(
        "[daemon]\nroles = [\"lbaas\"]\n[http]\nlisten = [\"0.0.0.0:8770\"]\n[http.tls]\nnames = [\"10.0.0.1\", \"a.example\"]\n\
         [gearman]\nembedded_listen = \"0.0.0.0:4730\"\n[gearman.embedded_tls]\nnames = [\"10.0.0.1\"]\n",
    );
    let tls = config.http.tls.unwrap();
    assert_eq!((tls.client_auth, tls.identity.names().len()), (ClientAuth::Optional, 2));
    assert!(config.gearman.embedded_tls.unwrap().ca.is_none());
}

#[test]
fn a_nodes_token_is_in_no_output() {
    let canary = "cap_canarycana_secret";
    let fingerprint = "AB:".repeat(31) + "AB";
    let text = format!(
        "[worker]\nfunction = \"lb-1\"\n[identity]\nenrol_url = \"https://10.0.0.1:8770\"\ntoken = \"{canary}\"\nca_fingerprint = \"{fingerprint}\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capstan.toml");
    fs::write(&path, text).unwrap();
    let loaded = load(&path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"));
    let node = loaded.config.identity.node.clone().unwrap();
    assert_eq!((node.name.as_str(), node.fingerprint.as_deref()), ("lb-1", Some("ab".repeat(32).as_str())));
    assert_eq!(node.token.as_ref().map(config::Secret::expose), Some(canary));
    assert!(!format!("{node:?}").contains(canary));
    assert!(!show_text(&loaded).contains(canary));
    assert!(loaded.secret_values().iter().any(|secret| secret.expose() == canary), "the log is not scrubbed of it");
}
