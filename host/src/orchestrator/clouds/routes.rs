//! The routes of `/clouds/v1`.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use capstan_plugin_api::cloud::{CreateNode, Image, List, Location, Node, Page, Size};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    CREATE, Clouds, DELETE, create, delete,
    farm::{Cloud, CloudView},
};
use crate::{
    drivers::CallOptions,
    http::{
        Access, Caller, ETag, IdempotencyKey, JsonBody, Listing, NoFilters, Operations, Parameters, Preconditions,
        Problem, ProblemKind, RequestId, Routes, Wait,
    },
    store::{
        Error,
        jobs::{self, NewJob, Unique},
    },
};

/// The tags by which the pool knows its nodes; whose they are, the first of them says.
const POOL_OWNER: &str = "capstan-owner";
/// Tags that begin so are the daemon's.
const OWN_TAGS: &str = "capstan-";
/// The longest name of a node.
const LONGEST_NAME: usize = 255;

/// The routes.
pub fn routes(clouds: Clouds) -> Routes {
    Routes::new()
        .get("/clouds/v1/clouds", Access::Viewer, "the clouds of the farm: driver, state, what they can do", list)
        .get("/clouds/v1/clouds/{cloud}", Access::Viewer, "one cloud", show)
        .get("/clouds/v1/clouds/{cloud}/nodes", Access::Viewer, "nodes of a cloud; by name, tag, state", nodes)
        .post("/clouds/v1/clouds/{cloud}/nodes", Access::Operator, "make a node; an operation", create_node)
        .get("/clouds/v1/clouds/{cloud}/nodes/{id}", Access::Viewer, "one node", node)
        .conditional(|routes| {
            routes.delete(
                "/clouds/v1/clouds/{cloud}/nodes/{id}",
                Access::Operator,
                "remove a node; an operation",
                delete_node,
            )
        })
        .get("/clouds/v1/clouds/{cloud}/images", Access::Viewer, "images of a cloud", images)
        .get("/clouds/v1/clouds/{cloud}/sizes", Access::Viewer, "sizes of a cloud", sizes)
        .get("/clouds/v1/clouds/{cloud}/locations", Access::Viewer, "locations of a cloud", locations)
        .with_state(clouds)
}

async fn list(State(clouds): State<Clouds>) -> Json<Value> {
    Json(json!({ "clouds": clouds.list(), "next": null }))
}

async fn show(State(clouds): State<Clouds>, Path(name): Path<String>) -> Result<Json<CloudView>, Problem> {
    clouds.show(&name).map(Json)
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFilters {
    /// Of exactly this name.
    name: Option<String>,
    /// With this tag, as `NAME=VALUE`.
    tag: Option<String>,
    /// In this state.
    state: Option<String>,
}

async fn nodes(
    State(clouds): State<Clouds>,
    Path(cloud): Path<String>,
    RequestId(request_id): RequestId,
    listing: Listing<NodeFilters>,
) -> Result<Response, Problem> {
    let NodeFilters { name, tag, state } = listing.filters.clone();
    let tags = match tag.as_deref().map(|tag| tag.split_once('=')) {
        None => BTreeMap::new(),
        Some(Some((name, value))) => BTreeMap::from([(name.to_owned(), value.to_owned())]),
        Some(None) => {
            return Err(Problem::bad_request("the parameter tag: expected NAME=VALUE").with("parameter", json!("tag")));
        }
    };
    let cloud = clouds.cloud(&cloud)?;
    // A driver that does not filter is filtered here; a page may then have fewer entries than there are further on.
    let is_meant = move |node: &Node| {
        name.as_ref().is_none_or(|name| node.name == *name)
            && state.as_ref().is_none_or(|state| node.state == *state)
            && tag
                .as_deref()
                .and_then(|tag| tag.split_once('='))
                .is_none_or(|(name, value)| node.tags.get(name).is_some_and(|found| found == value))
    };
    let filter = List { name: listing.filters.name.clone(), tags, ..List::default() };
    page(&cloud, "nodes", "list_nodes", filter, &listing, request_id, is_meant).await
}

/// A page of a list of a cloud. Its cursor is the driver's own.
async fn page<T: DeserializeOwned + Serialize, F>(
    cloud: &Cloud,
    name: &str,
    method: &str,
    filter: List,
    listing: &Listing<F>,
    request_id: String,
    is_meant: impl Fn(&T) -> bool,
) -> Result<Response, Problem> {
    let filter = List { cursor: listing.after()?, limit: u32::try_from(listing.limit).ok(), ..filter };
    let options = CallOptions { request_id, ..CallOptions::default() };
    let found: Page<T> = cloud.call(method, &filter, options).await.map_err(|error| cloud.problem(&error))?;
    let rows = found.items.into_iter().filter(|item| is_meant(item)).collect();
    Ok(listing.page_of(name, rows, found.next.as_ref()))
}

macro_rules! lists {
    ($($name:ident $method:literal $item:ty;)*) => {
        $(async fn $name(
            State(clouds): State<Clouds>,
            Path(cloud): Path<String>,
            RequestId(request_id): RequestId,
            listing: Listing<NoFilters>,
        ) -> Result<Response, Problem> {
            let cloud = clouds.cloud(&cloud)?;
            page(&cloud, stringify!($name), $method, List::default(), &listing, request_id, |_: &$item| true).await
        })*
    };
}

lists! {
    images "list_images" Image;
    sizes "list_sizes" Size;
    locations "list_locations" Location;
}

async fn node(
    State(clouds): State<Clouds>,
    Path((cloud, id)): Path<(String, String)>,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    let cloud = clouds.cloud(&cloud)?;
    let node = found(&cloud, &id).await?;
    Ok(preconditions.answer(&ETag::of_content(&node), &node))
}

async fn found(cloud: &Cloud, id: &str) -> Result<Node, Problem> {
    let node = cloud.node(id).await.map_err(|error| cloud.problem(&error))?;
    node.ok_or_else(|| {
        Problem::not_found(format!("the cloud {} has no node {id:?}; `capstan node list` lists all", cloud.name))
    })
}

/// A node to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNode {
    /// Its name; `node-` and the operation's id unless it is given.
    name: Option<String>,
    /// Id or name.
    image: String,
    /// Id or name.
    size: String,
    location: Option<String>,
    key_pair: Option<String>,
    #[serde(default)]
    security_groups: Vec<String>,
    #[serde(default)]
    networks: Vec<String>,
    user_data: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl NewNode {
    fn check(&self) -> Result<(), Problem> {
        let fault = |field: &str, detail: &str| {
            Err(Problem::new(ProblemKind::INVALID_BODY, format!("{field}: {detail}")).with("field", json!(field)))
        };
        let is_plain = |name: &String| (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        if !self.name.as_ref().is_none_or(is_plain) {
            return fault("name", "1 to 255 bytes, none of them a control character");
        }
        if self.tags.keys().any(|name| name.starts_with(OWN_TAGS)) {
            return fault("tags", "names that begin with capstan- are the daemon's own");
        }
        Ok(())
    }
}

async fn create_node(
    State(clouds): State<Clouds>,
    Path(cloud): Path<String>,
    caller: Caller,
    key: Option<axum::Extension<IdempotencyKey>>,
    RequestId(request_id): RequestId,
    wait: Wait,
    JsonBody(new): JsonBody<NewNode>,
) -> Result<Response, Problem> {
    new.check()?;
    let cloud = clouds.cloud(&cloud)?;
    let (image, size) = (cloud.image(&new.image).await?, cloud.size(&new.size).await?);
    let mut job = NewJob::new(CREATE, "");
    let NewNode { name, location, key_pair, security_groups, networks, user_data, mut tags, .. } = new;
    tags.insert(create::REQUEST.to_owned(), job.id.clone());
    let node = CreateNode {
        name: name.unwrap_or_else(|| format!("node-{}", job.id.to_ascii_lowercase())),
        image,
        size,
        location,
        key_pair,
        security_groups,
        networks,
        tags,
        client_token: job.id.clone(),
        ..CreateNode::default()
    };
    job.spec = serde_json::to_string(&create::Spec { cloud: cloud.name, node }).map_err(Problem::internal)?;
    // Should the answer to this request never have been kept, its key finds the job all the same.
    job.unique = key.map(|axum::Extension(IdempotencyKey(key))| Unique::WhileKept(format!("{}/{key}", caller.name)));
    job.request_id = Some(request_id);
    let id = clouds
        .store()
        .write(move |tx| {
            let accepted = jobs::accept(tx, &job)?;
            if accepted.id() == job.id
                && let Some(text) = &user_data
            {
                create::keep_user_data(tx, &job.id, text)?;
            }
            Ok::<_, Error>(accepted.id().to_owned())
        })
        .await?;
    Operations::new(clouds.store().clone()).accepted(&id, wait).await
}

/// A conflict when the node is a pool's, of this deployment or of another one that shares the cloud.
fn unowned(node: &Node, deployment: &str) -> Result<(), Problem> {
    let Some(owner) = node.tags.get(POOL_OWNER) else { return Ok(()) };
    let (whose, where_to) = if owner == deployment {
        ("the pool".to_owned(), "")
    } else {
        (format!("the pool of another deployment, {owner}"), " there")
    };
    Err(Problem::conflict(format!(
        "the node {id} belongs to {whose}: `capstan pool retire {id}`{where_to} takes it off the API server first; one that the pool does \
         not know by this id is an orphan, and force removes it",
        id = node.id
    )))
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Force {
    #[serde(default)]
    force: bool,
}

async fn delete_node(
    State(clouds): State<Clouds>,
    Path((cloud, id)): Path<(String, String)>,
    RequestId(request_id): RequestId,
    wait: Wait,
    preconditions: Preconditions,
    Parameters(Force { force }): Parameters<Force>,
) -> Result<Response, Problem> {
    let cloud = clouds.cloud(&cloud)?;
    let node = found(&cloud, &id).await?;
    // A cloud has no conditions of its own: what it says just before decides.
    preconditions.check(Some(&ETag::of_content(&node)))?;
    if !force {
        unowned(&node, clouds.store().deployment())?;
    }
    let object = format!("cloud/{}/{id}", cloud.name);
    let spec = serde_json::to_string(&delete::Spec { cloud: cloud.name, node: id }).map_err(Problem::internal)?;
    let job = NewJob {
        unique: Some(Unique::WhileLive(object.clone())),
        object: Some(object),
        request_id: Some(request_id),
        ..NewJob::new(DELETE, spec)
    };
    let accepted = clouds.store().write(move |tx| jobs::accept(tx, &job)).await?;
    Operations::new(clouds.store().clone()).accepted(accepted.id(), wait).await
}
