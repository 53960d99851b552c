//! Tokens as they are written: `cap_ID_SECRET`, in a header of a request.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use data_encoding::BASE32_NOPAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

const PREFIX: &str = "cap_";
/// 50 bits: enough that no two tokens of a deployment share an id.
const ID_LENGTH: usize = 10;
/// 256 bits.
const SECRET_LENGTH: usize = 52;

/// A token as its bearer has it. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    text: String,
}

impl TokenText {
    /// A new one, of 256 random bits.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn random() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; 39];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self::of(&bytes))
    }

    /// The token of these bytes, which nobody may be able to guess.
    pub(crate) fn of(bytes: &[u8; 39]) -> Self {
        let (id, secret) = bytes.split_at(7);
        let id = &BASE32_NOPAD.encode(id).to_ascii_lowercase()[..ID_LENGTH];
        let secret = BASE32_NOPAD.encode(secret).to_ascii_lowercase();
        Self { text: format!("{PREFIX}{id}_{secret}") }
    }

    /// Whether this is the token of which a SHA-256 is kept.
    pub(crate) fn is(&self, kept: &str) -> bool {
        is_equal(kept, &self.sha256())
    }

    /// What may be a token; nothing else is looked up.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_base32 = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        let fits = id.len() == ID_LENGTH && secret.len() == SECRET_LENGTH && is_base32(id) && is_base32(secret);
        fits.then(|| Self { text: text.to_owned() })
    }

    /// The part that names it and may be shown.
    pub fn id(&self) -> &str {
        self.text.get(PREFIX.len()..PREFIX.len() + ID_LENGTH).unwrap_or_default()
    }

    /// The whole, for its bearer.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    pub fn sha256(&self) -> String {
        Sha256::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TokenText({PREFIX}{}_*****)", self.id())
    }
}

/// The token of a request: `Authorization: Bearer` or `X-Auth-Token`.
///
/// # Errors
/// Something is shown that is no token, or more than one.
pub fn presented(headers: &HeaderMap) -> Result<Option<TokenText>, NoToken> {
    let mut shown = Vec::new();
    for value in headers.get_all(AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(NoToken)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(NoToken);
        }
        shown.push(TokenText::parse(token.trim()).ok_or(NoToken)?);
    }
    for value in headers.get_all(X_AUTH_TOKEN) {
        shown.push(value.to_str().ok().and_then(|text| TokenText::parse(text.trim())).ok_or(NoToken)?);
    }
    match shown.as_slice() {
        [] => Ok(None),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(Some(first.clone())),
        _ => Err(NoToken),
    }
}

/// What is shown is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoToken;

/// Compares in a time that says nothing of where two texts differ.
pub(super) fn is_equal(a: &str, b: &str) -> bool {
    let different = a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    a.len() == b.len() && different == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_found_in_either_header_and_only_there() {
        let token = TokenText::random().unwrap();
        let text = token.expose();
        assert_eq!(TokenText::parse(text), Some(token.clone()));
        assert!(!format!("{token:?}").contains(&text[15..]));
        let bearer = format!("bearer {text}");
        for good in [
            &[("authorization", &*bearer)][..],
            &[("x-auth-token", text)],
            &[("x-auth-token", text), ("authorization", &bearer)],
        ] {
            assert_eq!(presented(&headers(good)), Ok(Some(token.clone())));
        }
        assert_eq!(presented(&headers(&[])), Ok(None));
        let other = TokenText::random().unwrap();
        for bad in [
            &[("authorization", text)][..],
            &[("authorization", "Basic YTpi")],
            &[("authorization", "Bearer ")],
            &[("x-auth-token", "")],
            &[("x-auth-token", text), ("x-auth-token", other.expose())],
        ] {
            assert_eq!(presented(&headers(bad)), Err(NoToken), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_a_token_or_none(bytes: Vec<u8>) {
            if let Ok(value) = axum::http::HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(AUTHORIZATION, value.clone());
                let _ = presented(&headers);
                headers.insert(X_AUTH_TOKEN, value);
                let _ = presented(&headers);
            }
        }
    }

    #[test]
    fn equal_texts_are_equal() {
        assert!(is_equal("abc", "abc") && is_equal("", ""));
        assert!(!is_equal("abc", "abd") && !is_equal("abc", "ab") && !is_equal("ab", "abc"));
    }
}
