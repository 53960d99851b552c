//! Stage signature: `FILE.sig` beside the file, and what is signed. docs/contract/signatures.md has both for other tools.

use data_encoding::BASE64;
use ring::signature::{ED25519, UnparsedPublicKey};
use thiserror::Error;

use super::sha256;
use crate::{
    config::{DriverPolicy, PublicKey, Trust},
    drivers::{
        error::{Failure, Stage, one_line},
        file::Checked,
    },
};

/// What a file's name gets at its end.
const SUFFIX: &str = ".sig";
/// No file of signatures is larger; a line has 124 bytes.
const LARGEST: u64 = 4096;
/// First word of a line: what the other two words are.
const SCHEME: &str = "capstan-ed25519-1";

/// What is signed. The first line keeps a signature for anything else from being one for a driver's file.
pub(super) fn message(sha256: &str) -> String {
    format!("capstan driver file 1\nsha256 {sha256}\n")
}

/// A line of a file of signatures.
pub(super) fn line(key: &PublicKey, signature: &[u8]) -> String {
    format!("{SCHEME} {} {}\n", key.id(), BASE64.encode(signature))
}

/// Why signatures do not vouch for a file. `Display` is one line.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("found {found}; expected {expected}; {remedy}")]
pub struct SignatureFault {
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
    /// What the operator can do.
    pub remedy: &'static str,
}

/// Holds signatures, in the form of `FILE.sig`, against the content of the file. Answers the key that vouches for it.
///
/// # Errors
/// No line is a good signature by one of the keys.
pub fn verify(file: &[u8], signatures: &[u8], keys: &[PublicKey]) -> Result<PublicKey, SignatureFault> {
    good(&sha256(file), signatures, keys)
}

fn good(sha256: &str, signatures: &[u8], keys: &[PublicKey]) -> Result<PublicKey, SignatureFault> {
    let fault = |found: String, remedy| SignatureFault { found, expected: expected(keys), remedy };
    let lines = lines(signatures);
    if lines.is_empty() {
        let remedy = "put there what `capstan driver sign` or the vendor made for this file";
        return Err(fault(format!("no line {SCHEME} KEY SIGNATURE"), remedy));
    }
    let message = message(sha256);
    let mut bad = None;
    for (id, signature) in &lines {
        for key in keys.iter().filter(|key| key.id() == *id) {
            if UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(message.as_bytes(), signature).is_ok() {
                return Ok(*key);
            }
            bad = Some(key.id());
        }
    }
    if let Some(id) = bad {
        return Err(fault(
            format!("a signature by key {id} that is not for this file (sha256 {sha256})"),
            "install file and signature of one release; if they are, one of them was altered: ask the vendor",
        ));
    }
    let ids: Vec<String> = lines.iter().map(|(id, _)| one_line(id)).collect();
    Err(fault(
        format!("a signature by key {}", ids.join(" and ")),
        "trust that key by signature_key or drivers.signature_keys only if you know it to be the vendor's",
    ))
}

fn expected(keys: &[PublicKey]) -> String {
    let ids: Vec<String> = keys.iter().map(PublicKey::id).collect();
    format!("a signature by key {}", ids.join(" or "))
}

/// Key id and signature of each line; what is none, and lines of schemes to come, are passed over.
fn lines(signatures: &[u8]) -> Vec<(&str, Vec<u8>)> {
    let text = str::from_utf8(signatures).unwrap_or_default();
    let line = |line| {
        let [SCHEME, id, signature] = str::split_ascii_whitespace(line).collect::<Vec<_>>()[..] else { return None };
        Some((id, BASE64.decode(signature.as_bytes()).ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Stage signature for a file; answers what lay beside it where a key asked for it.
pub(super) fn check(trust: &Trust, checked: &Checked, sha256: &str) -> Result<Option<Vec<u8>>, Failure> {
    if !is_asked_for(trust)? {
        return Ok(None);
    }
    let name = checked.path.file_name().unwrap_or_default().to_string_lossy();
    let beside = checked.beside(SUFFIX, LARGEST).map_err(|failure| Failure {
        stage: Stage::Signature,
        found: format!("{name}{SUFFIX}: {}", failure.found),
        ..failure
    })?;
    let remedy = "install the vendor's signature beside the file, or sign it with `capstan driver sign`";
    let signatures = beside.ok_or_else(|| missing(trust, format!("no {name}{SUFFIX}"), remedy))?;
    hold(trust, sha256, signatures).map(Some)
}

/// Stage signature for a private copy, by the keys that are trusted now.
pub(super) fn check_kept(trust: &Trust, sha256: &str, kept: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Failure> {
    if !is_asked_for(trust)? {
        return Ok(None);
    }
    let remedy = "install the file with its signature and reload the driver";
    let found = "a copy of a file that no signature was asked for when it served";
    let signatures = kept.ok_or_else(|| missing(trust, found.to_owned(), remedy))?;
    hold(trust, sha256, signatures).map(Some)
}

/// Whether a key asks for a signature; a policy that asks for the key is a fault.
fn is_asked_for(trust: &Trust) -> Result<bool, Failure> {
    if !trust.signature_keys.is_empty() || trust.policy != DriverPolicy::Signed {
        return Ok(!trust.signature_keys.is_empty());
    }
    Err(Failure::new(
        Stage::Signature,
        "no key that a signature could be held against",
        "one, as drivers.policy = \"signed\" asks",
        "add the vendor's public key as signature_key, or to drivers.signature_keys",
    ))
}

fn missing(trust: &Trust, found: String, remedy: &str) -> Failure {
    Failure::new(Stage::Signature, found, expected(&trust.signature_keys), remedy)
}

fn hold(trust: &Trust, sha256: &str, signatures: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let key =
        good(sha256, &signatures, &trust.signature_keys).map_err(|SignatureFault { found, expected, remedy }| {
            Failure::new(Stage::Signature, found, expected, remedy)
        })?;
    tracing::debug!(sha256, key = key.id(), "the signature is good");
    Ok(signatures)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::drivers::PrivateKey;

    fn found(file: &[u8], signatures: &str, keys: &[PublicKey]) -> String {
        verify(file, signatures.as_bytes(), keys).unwrap_err().found
    }

    #[test]
    fn one_good_line_by_one_trusted_key_is_enough_and_nothing_less() {
        let [ours, theirs] = [(); 2].map(|()| PrivateKey::generate().unwrap().0);
        let (our, their) = (ours.public(), theirs.public());
        let (by_us, by_them) = (ours.sign(b"file"), theirs.sign(b"file"));
        for (signatures, keys) in [
            (by_us.clone(), vec![our]),
            (by_us.clone(), vec![their, our]),
            (format!("{by_them}{by_us}"), vec![our]),
            (format!("later-scheme x\n\n  {} \r\n", by_us.trim()), vec![our]),
            (format!("{}{by_us}", ours.sign(b"an older one")), vec![our]),
        ] {
            assert_eq!(verify(b"file", signatures.as_bytes(), &keys), Ok(our), "{signatures}");
        }
        assert!(
            found(b"File", &by_us, &[our]).starts_with(&format!("a signature by key {} that is not for", our.id()))
        );
        assert_eq!(found(b"file", &by_them, &[our]), format!("a signature by key {}", their.id()));
        // The id only says which key is meant.
        let disguised = by_them.replace(&their.id(), &our.id());
        assert!(found(b"file", &disguised, &[our]).contains("not for this file"));
        for nothing in ["", "\n", "hello", &by_us[..by_us.len() - 8], &by_us.replace("-1 ", "-2 ")] {
            assert_eq!(found(b"file", nothing, &[our]), "no line capstan-ed25519-1 KEY SIGNATURE", "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn no_altered_byte_passes(at in any::<usize>(), change in 1_u8..) {
            let (key, _) = PrivateKey::generate().unwrap();
            let line = key.sign(b"file");
            let (mut altered, at) = (line.clone().into_bytes(), at % line.len());
            altered[at] ^= change;
            let passed = verify(b"file", &altered, &[key.public()]).is_ok();
            // Blanks are as good as others.
            prop_assert!(!passed || line.as_bytes()[at].is_ascii_whitespace(), "byte {at}");
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..300), scheme in any::<bool>()) {
            let (key, _) = PrivateKey::generate().unwrap();
            let bytes = if scheme { [b"capstan-ed25519-1 ", &bytes[..]].concat() } else { bytes };
            let fault = verify(b"file", &bytes, &[key.public()]).unwrap_err().to_string();
            prop_assert!(!fault.contains(char::is_control), "{fault:?}");
        }
    }
}
