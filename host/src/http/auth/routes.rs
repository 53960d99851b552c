//! `/auth/v1/tokens`, and who one is.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Access, Caller, Role, Tokens,
    tokens::{NewToken, Token},
};
use crate::http::{JsonBody, Listing, Problem, ProblemKind, Routes, idempotency::Confidential};

/// A token's longest life: ten years.
const LONGEST_SECONDS: i64 = 10 * 366 * 86_400;
const DEFAULT_SECONDS: i64 = 90 * 86_400;

pub(in crate::http) fn routes(tokens: Tokens) -> Routes {
    Routes::new()
        .get("/auth/v1/self", Access::Viewer, "who the caller is", who)
        .get("/auth/v1/tokens", Access::Admin, "the tokens, none of their texts", list)
        .post("/auth/v1/tokens", Access::Admin, "make a token; its text is in this answer and nowhere else", make)
        .get("/auth/v1/tokens/{id}", Access::Admin, "one token", show)
        .delete("/auth/v1/tokens/{id}", Access::Admin, "revoke a token at once", revoke)
        .with_state(tokens)
}

async fn who(caller: Caller) -> Json<Value> {
    Json(json!({ "name": caller.name, "role": caller.role, "tenant": caller.tenant }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    role: Option<Role>,
    tenant: Option<String>,
}

async fn list(State(tokens): State<Tokens>, listing: Listing<Filters>) -> Result<Response, Problem> {
    let rows = i64::try_from(listing.rows()).unwrap_or(i64::MAX);
    let Filters { role, tenant } = &listing.filters;
    let found = tokens.list(*role, tenant.clone(), listing.after()?, rows).await?;
    Ok(listing.page("tokens", found, |token| (token.created.0, token.id.clone())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    role: Role,
    tenant: Option<String>,
    name: Option<String>,
    #[serde(default = "default_life")]
    expires_seconds: Option<i64>,
}

#[allow(clippy::unnecessary_wraps, reason = "the form that serde asks for")]
const fn default_life() -> Option<i64> {
    Some(DEFAULT_SECONDS)
}

async fn make(
    State(tokens): State<Tokens>,
    caller: Caller,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<Response, Problem> {
    let fault = |field: &str, detail: &str| {
        Problem::new(ProblemKind::INVALID_BODY, format!("{field}: {detail}")).with("field", json!(field))
    };
    match (wanted.role, &wanted.tenant) {
        (Role::Tenant, None) => return Err(fault("tenant", "a token of the role tenant is for one tenant; name it")),
        (Role::Tenant, Some(_)) | (_, None) => {}
        (role, Some(_)) => return Err(fault("tenant", &format!("a token of the role {role} is for no tenant"))),
    }
    for (field, text) in [("tenant", &wanted.tenant), ("name", &wanted.name)] {
        if text.as_ref().is_some_and(|text| !is_plain(text)) {
            return Err(fault(field, "1 to 128 characters, none of them a control character"));
        }
    }
    if wanted.expires_seconds.is_some_and(|seconds| !(1..=LONGEST_SECONDS).contains(&seconds)) {
        return Err(fault(
            "expires_seconds",
            &format!("1 to {LONGEST_SECONDS}, or null for a token that does not expire"),
        ));
    }
    let new = NewToken {
        role: wanted.role,
        tenant: wanted.tenant,
        name: wanted.name,
        lasts: wanted.expires_seconds.map(|seconds| seconds * 1000),
    };
    let (text, token) = tokens.make(new, &caller).await?;
    tracing::info!(id = token.id, role = %token.role, by = caller.name, "a token is made");
    let location = format!("/auth/v1/tokens/{}", token.id);
    let mut body = serde_json::to_value(&token).map_err(Problem::internal)?;
    body["token"] = json!(text.expose());
    let mut response =
        (StatusCode::CREATED, [("location", location), ("cache-control", "no-store".to_owned())], Json(body))
            .into_response();
    response.extensions_mut().insert(Confidential);
    Ok(response)
}

fn is_plain(text: &str) -> bool {
    (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

async fn show(State(tokens): State<Tokens>, Path(id): Path<String>) -> Result<Json<Token>, Problem> {
    tokens.show(id).await.map(Json)
}

async fn revoke(State(tokens): State<Tokens>, caller: Caller, Path(id): Path<String>) -> Result<Json<Token>, Problem> {
    let token = tokens.revoke(id).await?;
    tracing::info!(id = token.id, role = %token.role, by = caller.name, "a token is revoked");
    Ok(Json(token))
}
