//! `/identity/v1`: how nodes come to their certificates, and what an operator sees and does of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Certificate, EnrolmentToken, Identity, Refused, Request, TokenState};
use crate::{
    http::{
        Access, Attempts, Caller, Confidential, JsonBody, Listing, OptionalJson, Peer, Problem, ProblemKind, Reason,
        Routes, Why,
    },
    telemetry::{Figures, names},
};

/// How long a token holds that an operator asks for and gives no time for.
const DEFAULT_SECONDS: u64 = 3600;
/// The longest that one holds: a week.
const LONGEST_SECONDS: u64 = 7 * 86_400;

#[derive(Clone)]
struct Door {
    identity: Identity,
    attempts: Arc<Attempts>,
    figures: Figures,
}

/// The room's routes.
pub fn routes(identity: Identity, figures: Figures) -> Routes {
    Routes::new()
        .post("/identity/v1/enrol", Access::Open, "exchange a token for a certificate", enrol)
        .post("/identity/v1/renew", Access::Open, "exchange a certificate for a new one", renew)
        .get("/identity/v1/ca", Access::Open, "the authority's certificate", ca)
        .post("/identity/v1/tokens", Access::Admin, "make an enrolment token for a node that no pool builds", token)
        .get("/identity/v1/tokens", Access::Operator, "the enrolment tokens, none of their texts", tokens)
        .post("/identity/v1/tokens/{id}/revoke", Access::Operator, "revoke an unused enrolment token", revoke_token)
        .get("/identity/v1/certificates", Access::Operator, "the certificates of nodes", certificates)
        .post("/identity/v1/certificates/{serial}/revoke", Access::Operator, "revoke a certificate at once", revoke)
        .with_state(Door { identity, attempts: Arc::default(), figures })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrolment {
    token: String,
    csr: String,
}

async fn enrol(
    State(door): State<Door>,
    Extension(peer): Extension<Peer>,
    JsonBody(asked): JsonBody<Enrolment>,
) -> Result<Response, Problem> {
    door.wait(&peer)?;
    let request = read(&asked.csr)?;
    match door.identity.enrol(asked.token.trim(), &request).await {
        Ok(certificate) => Ok(door.answer(&certificate)),
        Err(refused) => Err(door.refuse(&peer, &request.name, refused)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewal {
    certificate: String,
    csr: String,
    signature: String,
}

async fn renew(
    State(door): State<Door>,
    Extension(peer): Extension<Peer>,
    JsonBody(asked): JsonBody<Renewal>,
) -> Result<Response, Problem> {
    door.wait(&peer)?;
    let request = read(&asked.csr)?;
    let signature = BASE64
        .decode(asked.signature.as_bytes())
        .map_err(|_| fault("signature", "expected base64 of a signature in ASN.1"))?;
    match door.identity.renew(&asked.certificate, &request, &signature).await {
        Ok(certificate) => Ok(door.answer(&certificate)),
        Err(refused) => Err(door.refuse(&peer, &request.name, refused)),
    }
}

fn read(csr: &str) -> Result<Request, Problem> {
    Request::from_pem(csr).map_err(|error| fault("csr", &error.to_string()))
}

fn fault(field: &str, detail: &str) -> Problem {
    Problem::new(ProblemKind::INVALID_BODY, format!("{field}: {detail}")).with("field", json!(field))
}

impl Door {
    /// Who was refused again and again waits.
    fn wait(&self, peer: &Peer) -> Result<(), Problem> {
        match self.attempts.wait(peer.key(), None, Instant::now()) {
            None => Ok(()),
            Some(wait) => Err(too_many(wait)),
        }
    }

    fn answer(&self, certificate: &Certificate) -> Response {
        let body = json!({
            "certificate": certificate.pem,
            "ca": self.identity.authority().pem(),
            "serial": certificate.serial,
            "not_after": certificate.not_after,
        });
        self.figures.counter(&names::IDENTITY_CERTIFICATES, [certificate.origin.as_str()]).increment();
        tracing::info!(
            name = certificate.name,
            serial = certificate.serial,
            by = certificate.origin,
            "a node has its certificate"
        );
        (StatusCode::OK, [("cache-control", "no-store")], Json(body)).into_response()
    }

    /// The same answer whatever is wrong with a token, or with a certificate; which it was is the log's.
    fn refuse(&self, peer: &Peer, name: &str, refused: Refused) -> Problem {
        let (detail, reason) = match refused {
            Refused::Token(reason) => ("the token is not accepted", reason),
            Refused::Certificate(reason) => ("the certificate is not accepted", reason),
            Refused::TooMany => return too_many(Duration::from_secs(3600)),
            Refused::Store(error) => return error.into(),
            refused @ (Refused::Authority(_) | Refused::Name(_)) => return Problem::internal(refused),
        };
        self.attempts.failed(peer.key(), Instant::now());
        self.figures.counter(&names::IDENTITY_REFUSALS, [reason]).increment();
        tracing::warn!(%peer, name, reason, "a node gets no certificate: {detail}");
        Problem::new(ProblemKind::UNAUTHORIZED, detail)
    }
}

fn too_many(wait: Duration) -> Problem {
    Problem::new(ProblemKind::TOO_MANY_REQUESTS, "too many requests of nodes came from there").retry_after(wait)
}

async fn ca(State(door): State<Door>) -> Json<Value> {
    let authority = door.identity.authority();
    Json(json!({ "ca": authority.pem(), "fingerprint": authority.fingerprint() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    #[serde(default = "default_seconds")]
    expires_seconds: u64,
}

const fn default_seconds() -> u64 {
    DEFAULT_SECONDS
}

async fn token(
    State(door): State<Door>,
    caller: Caller,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<Response, Problem> {
    let name = wanted.name;
    if name.is_empty() || name.len() > 200 || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(fault("name", "1 to 200 bytes without spaces and control characters"));
    }
    if !(1..=LONGEST_SECONDS).contains(&wanted.expires_seconds) {
        return Err(fault("expires_seconds", &format!("1 to {LONGEST_SECONDS}")));
    }
    // A node of its own each time: each token is another one.
    let node = uuid::Uuid::now_v7().to_string();
    let lasts = Duration::from_secs(wanted.expires_seconds);
    let text = match door.identity.admit(&node, &name, lasts).await {
        Ok(text) => text,
        Err(refused @ Refused::Name(_)) => return Err(fault("name", &refused.to_string())),
        Err(Refused::Store(error)) => return Err(error.into()),
        Err(refused) => return Err(Problem::internal(refused)),
    };
    tracing::info!(id = text.id(), name, by = caller.name, "an enrolment token is made");
    let authority = door.identity.authority();
    let body = json!({
        "id": text.id(), "token": text.expose(), "name": name, "node": node, "expires_seconds": wanted.expires_seconds,
        "fingerprint": authority.fingerprint(),
    });
    let mut response = (StatusCode::CREATED, [("cache-control", "no-store")], Json(body)).into_response();
    response.extensions_mut().insert(Confidential);
    Ok(response)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFilters {
    name: Option<String>,
    state: Option<TokenState>,
}

async fn tokens(State(door): State<Door>, listing: Listing<TokenFilters>) -> Result<Response, Problem> {
    let rows = i64::try_from(listing.rows()).unwrap_or(i64::MAX);
    let after = listing.after()?.unwrap_or((i64::MIN, String::new()));
    let TokenFilters { name, state } = &listing.filters;
    let found = door.identity.tokens(name.clone(), *state, after, rows).await?;
    Ok(listing.page("tokens", found, |one| (one.created.0, one.id.clone())))
}

async fn revoke_token(
    State(door): State<Door>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJson(why): OptionalJson<Why>,
) -> Result<Json<EnrolmentToken>, Problem> {
    let reason = kept(why, &caller);
    let token = door.identity.revoke_token(&id, &reason).await?.ok_or_else(|| {
        Problem::not_found(
            "there is no enrolment token of this id; `capstan identity tokens` shows those that are unused",
        )
    })?;
    if let Some(serial) = &token.serial {
        return Err(Problem::conflict(format!(
            "the token was exchanged for the certificate {serial}; `capstan identity revoke {serial}` makes that useless"
        )));
    }
    tracing::info!(id, name = token.name, by = caller.name, reason, "an enrolment token is revoked");
    Ok(Json(token))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    name: Option<String>,
}

async fn certificates(State(door): State<Door>, listing: Listing<Filters>) -> Result<Response, Problem> {
    let rows = i64::try_from(listing.rows()).unwrap_or(i64::MAX);
    let after = listing.after()?.unwrap_or((i64::MIN, String::new()));
    let found = door.identity.list(listing.filters.name.clone(), after, rows).await?;
    Ok(listing.page("certificates", found, |one| (one.issued.0, one.serial.clone())))
}

/// The reason of a revocation as it is kept: the caller's name where none is given.
fn kept(why: Why, caller: &Caller) -> String {
    why.reason.map_or_else(|| format!("revoked by {}", caller.name), Reason::into_text)
}

async fn revoke(
    State(door): State<Door>,
    caller: Caller,
    Path(serial): Path<String>,
    OptionalJson(why): OptionalJson<Why>,
) -> Result<Json<Certificate>, Problem> {
    let reason = kept(why, &caller);
    let serial = serial.to_ascii_lowercase();
    let revoked = door.identity.revoke(&serial, &reason).await?.ok_or_else(|| {
        Problem::not_found("there is no certificate of this serial number; `capstan identity list` shows all")
    })?;
    tracing::info!(serial, name = revoked.name, by = caller.name, reason, "a certificate is revoked");
    Ok(Json(revoked))
}
