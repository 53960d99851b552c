use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use capstan_tests::{
    daemon::{Ended, update},
    paths,
};

use super::{alter, assert_says, at, copy, site, state};

/// Runs a command of the binary in a folder, without any configuration.
fn capstan(folder: &Path, code: i32, words: &[&str]) -> Ended {
    let ended = Ended::of(Command::new(paths::capstan()).args(words).current_dir(folder).output().unwrap());
    assert_eq!(ended.code, Some(code), "capstan {words:?}: {ended:?}");
    ended
}

fn sh(folder: &Path, script: &str) {
    let output = Command::new("sh").args(["-eu", "-c", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The shell commands that the contract shows, in its order.
fn documented() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/contract/signatures.md");
    let page = fs::read_to_string(page).unwrap();
    page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn what_openssl_makes_capstan_checks_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let [sign, verify] = documented().try_into().unwrap();
    fs::write(path.join("libacme.so"), "any content will do").unwrap();

    // Made as the contract says.
    sh(path, &sign);
    let told = capstan(path, 0, &["driver", "verify", "libacme.so", "--key", "acme.key.pub"]);
    assert_says(&told.out, &["libacme.so: good signature by key "]);
    // Made with the same key by capstan: Ed25519 has one signature for one message, so the files are the same.
    let by_openssl = fs::read_to_string(path.join("libacme.so.sig")).unwrap();
    capstan(path, 0, &["driver", "sign", "libacme.so", "--key", "acme.key"]);
    assert_eq!(fs::read_to_string(path.join("libacme.so.sig")).unwrap(), by_openssl);
    sh(path, &verify);

    // A pair that capstan made.
    for name in ["acme.key", "acme.key.pub", "libacme.so.sig"] {
        fs::remove_file(path.join(name)).unwrap();
    }
    let made = capstan(path, 0, &["driver", "keygen", "acme.key", "--output", "json"]).json();
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("acme.key"), mode("acme.key.pub")), (0o600, 0o644));
    sh(path, "openssl pkey -in acme.key -pubout | cmp - acme.key.pub");
    let signed = capstan(path, 0, &["driver", "sign", "libacme.so", "--key", "acme.key", "--output", "json"]).json();
    assert_eq!((&signed["key"], signed["signature"].as_str()), (&made["key"], Some("libacme.so.sig")));
    sh(path, &verify);
    let line = made["signature_key"].as_str().unwrap();
    capstan(path, 0, &["driver", "verify", "libacme.so", "--key", line]);
    // Elsewhere than beside it.
    capstan(path, 0, &["driver", "sign", "libacme.so", "--key", "acme.key", "--out", "other.sig"]);
    fs::remove_file(path.join("libacme.so.sig")).unwrap();
    capstan(path, 0, &["driver", "verify", "libacme.so", "--key", line, "--signature", "other.sig"]);
    let missing = capstan(path, 64, &["driver", "verify", "libacme.so", "--key", line]);
    assert_says(&missing.error, &["libacme.so.sig cannot be read"]);
}

#[test]
fn faults_of_keys_and_signatures_are_told_by_name_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("d.so"), "content").unwrap();
    capstan(path, 0, &["driver", "keygen", "a.key"]);
    capstan(path, 0, &["driver", "keygen", "b.key"]);
    let before = fs::read(path.join("a.key")).unwrap();
    let again = capstan(path, 64, &["driver", "keygen", "a.key"]);
    assert_says(&again.error, &["a.key exists, and a key is not overwritten"]);
    fs::remove_file(path.join("b.key")).unwrap();
    assert_says(&capstan(path, 64, &["driver", "keygen", "b.key"]).error, &["b.key.pub exists"]);
    assert_eq!(fs::read(path.join("a.key")).unwrap(), before);
    sh(path, "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.key 2>/dev/null");
    sh(path, "openssl pkey -in ec.key -pubout -out ec.pub");
    sh(path, "openssl pkey -in a.key -aes256 -passout pass:secret -out locked.key");
    for (key, parts) in [
        ("a.key.pub", ["--key: found a public key in a.key.pub", "name the private half"]),
        ("ec.key", ["found a key of another kind than Ed25519 in ec.key", "driver keygen"]),
        ("locked.key", ["found a private key that a password protects", "take the password off: openssl pkey"]),
        ("d.so", ["found no key at all in d.so", "driver keygen"]),
        ("none.key", ["none.key cannot be read: No such file", ""]),
    ] {
        let ended = capstan(path, 64, &["driver", "sign", "d.so", "--key", key]);
        assert_says(&ended.error, &parts);
    }
    assert!(!path.join("d.so.sig").exists());
    assert_says(&capstan(path, 64, &["driver", "sign", "none", "--key", "a.key"]).error, &["none cannot be read"]);
    capstan(path, 0, &["driver", "sign", "d.so", "--key", "a.key"]);
    for (key, parts) in [
        ("a.key", ["--key: found a private key in a.key", "openssl pkey -in KEYFILE -pubout"]),
        ("ec.pub", ["found a key of another kind than Ed25519 in ec.pub", "expected a public Ed25519 key"]),
        ("none", ["none cannot be read: No such file", ""]),
    ] {
        assert_says(&capstan(path, 64, &["driver", "verify", "d.so", "--key", key]).error, &parts);
    }
    let other = capstan(path, 1, &["driver", "verify", "d.so", "--key", "b.key.pub"]);
    assert_says(
        &other.error,
        &["d.so.sig: found a signature by key ", "; expected a signature by key ", "trust that key"],
    );
    fs::write(path.join("d.so"), "Content").unwrap();
    let altered = capstan(path, 1, &["driver", "verify", "d.so", "--key", "a.key.pub", "--output", "json"]);
    assert_says(&altered.error, &["that is not for this file (sha256 ", "install file and signature of one release"]);
    assert_eq!(altered.json()["good"], false);
}

#[test]
fn a_daemon_loads_what_is_signed_by_a_trusted_key_and_says_why_not_the_rest() {
    let keys = tempfile::tempdir().unwrap();
    for name in ["house", "vendor"] {
        capstan(keys.path(), 0, &["driver", "keygen", name]);
    }
    let key = |name: &str| keys.path().join(name).display().to_string();
    let vendor = fs::read_to_string(keys.path().join("vendor.pub")).unwrap();
    let vendor_line = vendor.lines().nth(1).unwrap();
    let site = site(
        &format!("policy = \"signed\"\nsignature_keys = [\"{}\"]", key("house.pub")),
        "",
        &format!("signature_key = \"{vendor_line}\""),
    );
    let sign = |file: &str, by: &str| capstan(site.path(), 0, &["driver", "sign", file, "--key", &key(by)]);
    sign("d/noop.so", "house");
    // Trusted for others, not for this one.
    sign("d/acme.so", "house");
    site.expect(0, &["config", "check"]);
    let daemon = site.start();
    site.pass(&update(80, &[("1", 81)]));
    let (is, why) = state(&site, "acme");
    assert_eq!(is, "failed");
    assert_says(
        &why,
        &[
            "driver load_balancer.acme: stage signature: ",
            "acme.so: found a signature by key ",
            "; expected a signature by key ",
        ],
    );
    daemon.stop();

    sign("d/acme.so", "vendor");
    let daemon = site.start();
    assert_eq!(state(&site, "acme"), ("ready".to_owned(), String::new()));
    daemon.stop();
    // A file without the new signature, and a signature without the new file.
    alter(&at(&site, "d/acme.so"));
    let ended = site.expect(1, &["driver", "check", "acme"]);
    assert!(ended.out.lines().any(|line| line.starts_with("checksum ") && line.ends_with("ok")), "{}", ended.out);
    assert!(ended.out.lines().any(|line| line.starts_with("signature ") && line.ends_with("failed")), "{}", ended.out);
    assert_says(
        &ended.error,
        &["stage signature", "that is not for this file", "install file and signature of one release"],
    );
    sign("d/acme.so", "vendor");
    site.expect(0, &["driver", "check", "acme"]);
    copy(&paths::driver("load_balancer_noop"), &at(&site, "d/acme.so"));
    site.expect(1, &["driver", "check", "acme"]);
    fs::remove_file(at(&site, "d/acme.so.sig")).unwrap();
    assert_says(&site.expect(1, &["driver", "check", "acme"]).error, &["stage signature", "found no acme.so.sig"]);
}
