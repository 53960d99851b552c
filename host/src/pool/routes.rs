//! `/pool/v1`: how the pool stands, its nodes, and what an operator does with them.

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Explanation, Pool, Status, Take, TakeError,
    records::{self, Node},
    take,
};
use crate::{
    http::{Access, Caller, HoldView, JsonBody, Listing, OptionalJson, Problem, ProblemKind, Routes, Time, Why},
    store::events,
};

/// The pool's routes.
pub fn routes(pool: Pool) -> Routes {
    Routes::new()
        .get("/pool/v1/status", Access::Viewer, "how the stocks and the clouds stand", status)
        .get(
            "/pool/v1/explain/{id}",
            Access::Viewer,
            "all about a node, a stock or a job, and what happens to it next",
            explain,
        )
        .get("/pool/v1/nodes", Access::Viewer, "nodes of the pool", nodes)
        .get(
            "/pool/v1/nodes/{id}",
            Access::Viewer,
            "one node, by id, name or the cloud's id, with what happened to it",
            node,
        )
        .post("/pool/v1/nodes/{id}/drain", Access::Operator, "take a spare node out of the stock", drain)
        .post("/pool/v1/nodes/{id}/retire", Access::Operator, "delete a node; the stock replaces it", retire)
        .post("/pool/v1/stocks/{stock}/take", Access::Operator, "take a spare node", take_node)
        .post("/pool/v1/stocks/{stock}/pause", Access::Operator, "build no nodes for a stock", pause)
        .post("/pool/v1/stocks/{stock}/resume", Access::Operator, "build nodes for a stock again", resume)
        .with_state(pool)
}

async fn explain(State(pool): State<Pool>, Path(id): Path<String>) -> Result<Json<Explanation>, Problem> {
    let found = pool.explain(&id).await?;
    let missing = || {
        Problem::not_found(format!(
            "there is no node, no stock and no job {id:?}; `capstan pool nodes` and `capstan job list` list what there is"
        ))
    };
    found.map(Json).ok_or_else(missing)
}

async fn status(State(pool): State<Pool>) -> Result<Json<Status>, Problem> {
    Ok(Json(pool.status().await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFilters {
    state: Option<records::State>,
    stock: Option<String>,
}

async fn nodes(State(pool): State<Pool>, listing: Listing<NodeFilters>) -> Result<Response, Problem> {
    let after: Option<String> = listing.after()?;
    let NodeFilters { state, stock } = &listing.filters;
    if let Some(stock) = stock {
        let named = stock.clone();
        // One that is gone from the configuration has nodes for a while.
        if !pool.store().read(move |tx| Node::is_of_some(tx, &named)).await? {
            known(&pool, stock)?;
        }
    }
    let rows = pool.nodes(*state, stock.clone(), &after.unwrap_or_default(), listing.rows()).await?;
    Ok(listing.page("nodes", rows, |node| node.id.clone()))
}

async fn node(State(pool): State<Pool>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let (node, job) = pool.show(&id).await?.ok_or_else(|| unknown(&id))?;
    let object = super::shared::object(&node.id);
    let events = pool.store().read(move |tx| events::latest(tx, Some(&object), None, 50)).await?;
    let events: Vec<_> = events
        .into_iter()
        .map(|event| {
            let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
            json!({ "at": Time(event.at), "kind": event.kind, "detail": detail, "request_id": event.request_id })
        })
        .collect();
    let job = job.map(|job| {
        json!({
            "id": job.id, "kind": job.kind, "state": job.state.as_str(), "attempt": job.attempt,
            "next_run": Time(job.next_run), "error": job.error, "progress": job.progress.text,
        })
    });
    let hold = pool.held(&node).await?.map(HoldView::from);
    Ok(Json(json!({ "node": node, "job": job, "hold": hold, "events": events })))
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(take::unknown(id))
}

/// A node after a command. A hold does not stop the command and is told of.
async fn told(pool: &Pool, node: Node) -> Result<Json<Value>, Problem> {
    let hold = pool.held(&node).await?.map(HoldView::from);
    let mut body = serde_json::to_value(&node).map_err(Problem::internal)?;
    body["hold"] = json!(hold);
    Ok(Json(body))
}

async fn drain(
    State(pool): State<Pool>,
    Path(id): Path<String>,
    caller: Caller,
    OptionalJson(why): OptionalJson<Why>,
) -> Result<Json<Value>, Problem> {
    let (node, is_drained) = pool.drain(&id, &why.by(&caller)).await?;
    let Json(mut body) = told(&pool, node).await?;
    body["drained"] = json!(is_drained);
    Ok(Json(body))
}

async fn retire(
    State(pool): State<Pool>,
    Path(id): Path<String>,
    caller: Caller,
    OptionalJson(why): OptionalJson<Why>,
) -> Result<Json<Value>, Problem> {
    told(&pool, pool.retire(&id, &why.by(&caller)).await?).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeRequest {
    /// For whom; asked again with the same owner, the same node is given.
    owner: String,
    #[serde(default)]
    apart_from: Vec<String>,
    #[serde(default = "yes")]
    check: bool,
}

const fn yes() -> bool {
    true
}

async fn take_node(
    State(pool): State<Pool>,
    Path(stock): Path<String>,
    JsonBody(request): JsonBody<TakeRequest>,
) -> Result<Json<Value>, Problem> {
    if request.owner.is_empty() || request.owner.len() > 256 {
        return Err(Problem::new(ProblemKind::INVALID_BODY, "owner: 1 to 256 bytes that name who takes the node")
            .with("field", json!("owner")));
    }
    let wanted = Take { stock, owner: request.owner, apart_from: request.apart_from, check: request.check };
    let taken = pool.take(&wanted).await?;
    let hold = pool.held(&taken.node).await?.map(HoldView::from);
    let mut body = serde_json::to_value(&taken).map_err(Problem::internal)?;
    body["hold"] = json!(hold);
    Ok(Json(body))
}

async fn pause(
    State(pool): State<Pool>,
    Path(stock): Path<String>,
    caller: Caller,
    OptionalJson(why): OptionalJson<Why>,
) -> Result<Json<Status>, Problem> {
    known(&pool, &stock)?;
    pool.pause(&stock, &why.by(&caller)).await?;
    Ok(Json(pool.status().await?))
}

async fn resume(State(pool): State<Pool>, Path(stock): Path<String>) -> Result<Json<Status>, Problem> {
    known(&pool, &stock)?;
    pool.resume(&stock).await?;
    Ok(Json(pool.status().await?))
}

fn known(pool: &Pool, stock: &str) -> Result<(), Problem> {
    if pool.settings().stock(stock).is_some() {
        return Ok(());
    }
    Err(TakeError::Unknown { stock: stock.to_owned(), known: pool.stock_names() }.into())
}

impl From<TakeError> for Problem {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Empty { .. } | TakeError::Unfit { .. } => Self::new(ProblemKind::UNAVAILABLE, error.to_string()),
            TakeError::Unknown { .. } | TakeError::NotThere(_) => Self::not_found(error.to_string()),
            TakeError::NotNow(_) => Self::conflict(error.to_string()),
            TakeError::Api { driver, error } => Self::of_driver(&driver, &error),
            TakeError::Store(error) => error.into(),
        }
    }
}
