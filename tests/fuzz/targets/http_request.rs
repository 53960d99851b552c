//! What a caller says before anybody knows who it is, and what an API reads of it: tokens, keys, cursors, queries, waits, bodies.
#![no_main]

use axum::http::{HeaderMap, HeaderValue, Uri};
use capstan::http::{IdempotencyKey, Listing, TokenText, Wait, decode, parse, presented};
use capstan_fuzz::Source;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Filters {
    state: Option<String>,
    az: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Thing {
    name: String,
    size: Option<u32>,
    parts: Vec<Thing>,
}

const NAMES: [&str; 5] = ["authorization", "x-auth-token", "idempotency-key", "prefer", "content-type"];

fuzz_target!(|bytes: &[u8]| {
    let mut source = Source(bytes);
    let mut headers = HeaderMap::new();
    for _ in 0..source.below(5) {
        let name = source.one(&NAMES);
        let length = source.below(96);
        if let Ok(value) = HeaderValue::from_bytes(source.bytes(length)) {
            headers.append(name, value);
        }
    }
    if let Ok(Some(token)) = presented(&headers) {
        // What is taken for a token is one, and its id alone is shown.
        assert_eq!(TokenText::parse(token.expose()), Some(token.clone()));
        assert!(!format!("{token:?}").contains(&token.expose()[15..]));
    }
    if let Ok(Some(IdempotencyKey(key))) = IdempotencyKey::of(&headers) {
        assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let length = source.below(128);
    let query = String::from_utf8_lossy(source.bytes(length)).into_owned();
    let _ = decode::<(i64, String)>(&query);
    if let Ok(uri) = format!("/things?{query}").parse::<Uri>() {
        if let Ok(listing) = Listing::<Filters>::of(&uri) {
            assert!((1..=1000).contains(&listing.limit));
            let _ = listing.after::<String>();
            let rows = vec![0_i64; listing.rows()];
            let _ = listing.page("things", rows, |row| *row);
        }
        if let Ok(wait) = Wait::of(&uri, &headers) {
            assert!(wait.time.as_secs() <= 120);
        }
    }
    let _ = parse::<Thing>(source.0);
});
