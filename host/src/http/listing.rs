//! Lists: a page at a time, `limit` and `cursor`, with filters that are held strictly against what there is.
//!
//! A cursor is opaque to callers: the key of the last row that was seen, so that rows which come or go meanwhile neither repeat nor
//! hide others. A room reads `listing.rows()` rows after `listing.after()?` in the order of that key and hands them to
//! `listing.page`.

use axum::{
    Json,
    extract::{FromRequestParts, Query},
    http::{HeaderValue, Uri, header::LINK, request::Parts},
    response::{IntoResponse, Response},
};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Problem,
    body::{has_nul, meant, missing},
};
use crate::config::nearest;

const DEFAULT_LIMIT: usize = 100;
const MOST: usize = 1000;
/// Longer than any key that a room orders by.
const LONGEST_CURSOR: usize = 1024;

/// A list without filters.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFilters {}

/// In which order a list is, as a filter `order` of those that can be read from either end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// By rising key, the oldest first.
    #[default]
    Asc,
    /// By falling key, the newest first. What comes while somebody pages is on no later page.
    Desc,
}

/// What a request for a list asks for. `F` names the filters: a struct of optional fields that denies unknown ones.
#[derive(Clone, Debug)]
pub struct Listing<F = NoFilters> {
    /// Rows of a page.
    pub limit: usize,
    /// The filters.
    pub filters: F,
    cursor: Option<String>,
    path: String,
    /// The query without `cursor`, to be said again in the link to the next page.
    query: String,
}

/// Parameters of a query that is no list. `P` denies unknown ones; `wait` is [`super::Wait`]'s.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<P>(pub P);

impl<S: Sync, F: DeserializeOwned> FromRequestParts<S> for Listing<F> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

impl<S: Sync, P: DeserializeOwned> FromRequestParts<S> for Parameters<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let own = ["wait"];
        let (_, rest) = split(parts.uri.query().unwrap_or_default(), &own)?;
        strict(&rest, &own).map(Self)
    }
}

impl<F: DeserializeOwned> Listing<F> {
    /// Out of an address.
    ///
    /// # Errors
    /// 400 for a limit out of bounds, and for a filter that there is not.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let own = ["limit", "cursor"];
        let (taken, rest) = split(uri.query().unwrap_or_default(), &own)?;
        let [limit, cursor] = taken.try_into().unwrap_or_default();
        let stated = limit;
        let limit = match &stated {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MOST).contains(limit))
                .ok_or_else(|| parameter("limit", text, &format!("a whole number from 1 to {MOST}")))?,
        };
        let filters = strict(&rest, &own)?;
        let query = stated.map(|_| format!("limit={limit}")).into_iter().chain((!rest.is_empty()).then_some(rest));
        let query = query.collect::<Vec<_>>().join("&");
        Ok(Self { limit, filters, cursor, path: uri.path().to_owned(), query })
    }
}

impl<F> Listing<F> {
    /// The key after which the page begins; none for the first page.
    ///
    /// # Errors
    /// 400 when the cursor is none that this list gave.
    pub fn after<C: DeserializeOwned>(&self) -> Result<Option<C>, Problem> {
        self.cursor.as_deref().map(decode).transpose()
    }

    /// How many rows to read: one more than the page has, which tells whether there is a next one.
    pub fn rows(&self) -> usize {
        self.limit + 1
    }

    /// The answer `{"NAME": [...], "next": cursor or null}`, with `Link` to the next page. `key` gives the cursor's key of a row.
    pub fn page<T: Serialize, C: Serialize>(&self, name: &str, mut rows: Vec<T>, key: impl Fn(&T) -> C) -> Response {
        let has_more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = rows.last().filter(|_| has_more).map(key);
        self.page_of(name, rows, next.as_ref())
    }

    /// The same for a list that somebody else pages: `next` is their cursor.
    pub fn page_of<T: Serialize, C: Serialize>(&self, name: &str, rows: Vec<T>, next: Option<&C>) -> Response {
        let next = next.map(encode);
        let link = next.as_ref().map(|cursor| {
            let and = if self.query.is_empty() { "" } else { "&" };
            format!("<{}?{}{and}cursor={cursor}>; rel=\"next\"", self.path, self.query)
        });
        let rows = match serde_json::to_value(&rows) {
            Ok(rows) => rows,
            Err(error) => return Problem::internal(error).into_response(),
        };
        let mut body = serde_json::Map::new();
        body.insert(name.to_owned(), rows);
        body.insert("next".to_owned(), json!(next));
        let mut response = Json(Value::Object(body)).into_response();
        response.headers_mut().extend(link.and_then(|link| Some((LINK, HeaderValue::try_from(link).ok()?))));
        response
    }
}

/// A key as a cursor.
fn encode(key: &impl Serialize) -> String {
    BASE64URL_NOPAD.encode(&serde_json::to_vec(key).unwrap_or_default())
}

/// The key in a cursor.
///
/// # Errors
/// 400 for what is no cursor of such a key.
pub fn decode<C: DeserializeOwned>(cursor: &str) -> Result<C, Problem> {
    Some(cursor)
        .filter(|cursor| cursor.len() <= LONGEST_CURSOR)
        .and_then(|cursor| BASE64URL_NOPAD.decode(cursor.as_bytes()).ok())
        .filter(|json| !has_nul(json))
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(|| parameter("cursor", cursor, "the `next` of an earlier page of this list"))
}

/// Takes these parameters out of a query; gives their values and the rest.
fn split(query: &str, names: &[&str]) -> Result<(Vec<Option<String>>, String), Problem> {
    let mut taken = vec![None; names.len()];
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = names.iter().position(|known| *known == name) else {
            rest.push(pair);
            continue;
        };
        if taken[at].replace(value.to_owned()).is_some() {
            return Err(parameter(name, value, "to be given once"));
        }
    }
    Ok((taken, rest.join("&")))
}

/// A query held strictly against what is known. `own` are the parameters that were taken out of it.
fn strict<P: DeserializeOwned>(query: &str, own: &[&str]) -> Result<P, Problem> {
    let uri: Uri =
        format!("/?{query}").parse().map_err(|_| Problem::bad_request("the query: it is no query of an address"))?;
    Query::<P>::try_from_uri(&uri).map(|Query(value)| value).map_err(|error| fault(&error.body_text(), own))
}

/// What is wrong with a query, out of serde's words: `NAME: what is wrong`, or what is wrong alone.
fn fault(text: &str, own: &[&str]) -> Problem {
    let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    // The name stands before it and in it.
    if let Some(at) = text.find("unknown field `") {
        let mut quoted = text.get(at..).unwrap_or_default().split('`').skip(1).step_by(2);
        let unknown = quoted.next().unwrap_or_default();
        let known: Vec<_> = quoted.chain(own.iter().copied()).collect();
        let remedy = nearest(unknown, known.iter().copied())
            .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
        let detail = format!("the query: unknown parameter {unknown:?}, expected one of {}{remedy}", known.join(", "));
        return Problem::bad_request(detail).with("parameter", json!(unknown));
    }
    let remedy = text
        .split_once(": ")
        .and_then(|(_, text)| meant(text))
        .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    let problem = Problem::bad_request(format!("the query: {text}{remedy}"));
    match missing(text).or_else(|| text.split_once(": ").map(|(name, _)| name)) {
        Some(name) => problem.with("parameter", json!(name)),
        None => problem,
    }
}

fn parameter(name: &str, found: &str, expected: &str) -> Problem {
    let found: String = found.chars().take(80).collect();
    Problem::bad_request(format!("the parameter {name}: found {found:?}; expected {expected}"))
        .with("parameter", json!(name))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filters {
        state: Option<String>,
        az: Option<u32>,
    }

    fn listing(uri: &str) -> Result<Listing<Filters>, Problem> {
        Listing::of(&uri.parse().unwrap())
    }

    #[tokio::test]
    async fn pages_link_to_the_next_and_the_last_does_not() {
        let asked = listing("/pool/v1/nodes?state=ready&limit=2&az=3").unwrap();
        assert_eq!((asked.limit, asked.rows(), asked.filters.az), (2, 3, Some(3)));
        assert_eq!(asked.filters.state.as_deref(), Some("ready"));
        assert_eq!(asked.after::<i64>().unwrap(), None);
        let response = asked.page("nodes", vec![1_i64, 2, 3], |row| *row);
        let link = response.headers()[LINK].to_str().unwrap().to_owned();
        let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(body["nodes"], json!([1, 2]));
        let next = body["next"].as_str().unwrap();
        assert_eq!(link, format!("</pool/v1/nodes?limit=2&state=ready&az=3&cursor={next}>; rel=\"next\""));
        let again = listing(&format!("/pool/v1/nodes?cursor={next}")).unwrap();
        assert_eq!(again.after::<i64>().unwrap(), Some(2));
        let last = again.page("nodes", vec![3_i64], |row| *row);
        assert!(!last.headers().contains_key(LINK));
    }

    #[test]
    fn what_a_list_does_not_know_is_refused_by_name() {
        for (query, says) in [
            ("limit=0", "limit"),
            ("limit=1001", "1 to 1000"),
            ("limit=x", "limit"),
            ("limit=1&limit=2", "once"),
            ("sate=ready", "did you mean \\\"state\\\"?"),
            ("sate=ready", "expected one of state, az, limit, cursor"),
            ("limits=2", "did you mean \\\"limit\\\"?"),
            ("az=many", "invalid digit"),
        ] {
            let problem = listing(&format!("/x?{query}")).unwrap_err();
            assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
            assert!(format!("{problem:?}").contains(says), "{query}: {problem:?}");
        }
    }

    #[test]
    fn a_cursor_with_a_nul_in_its_key_is_none_that_a_list_gave() {
        assert!(decode::<String>(&encode(&"a")).is_ok());
        assert_eq!(decode::<String>(&encode(&"a\0")).unwrap_err().status(), StatusCode::BAD_REQUEST);
    }

    proptest! {
        #[test]
        fn any_cursor_is_a_key_or_a_problem(text in ".*") {
            let _ = decode::<(i64, String)>(&text);
            if let Ok(uri) = format!("/x?{text}").parse::<Uri>() {
                let _ = Listing::<Filters>::of(&uri);
            }
        }

        #[test]
        fn a_key_survives_its_cursor(number: i64, text in ".*") {
            prop_assume!(text.len() < 200 && !text.contains('\0'));
            let cursor = encode(&(number, &text));
            prop_assume!(cursor.len() <= LONGEST_CURSOR);
            prop_assert_eq!(decode::<(i64, String)>(&cursor).unwrap(), (number, text));
        }
    }
}
