//! The clouds as this API sees them: a driver each, asked through its handle of the moment.

use std::{collections::BTreeMap, sync::Arc};

use capstan_plugin_api::{
    DriverError, ErrorCode,
    cloud::{Image, List, Node, NodeRequest, Page, Size},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    drivers::{CallOptions, DriverHandle, DriverState, Kind, Registry},
    http::Problem,
    store::Store,
};

/// Entries of one page while something is looked for.
const PAGE: u32 = 1000;
/// A list that does not end is given up after so many pages.
const MOST_PAGES: usize = 1000;

/// The clouds of the farm. Cheap to clone.
#[derive(Clone)]
pub struct Clouds {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    store: Store,
    /// By name in the farm.
    members: BTreeMap<String, Member>,
}

/// A cloud of the farm.
struct Member {
    engine: String,
    /// What the registry calls it.
    instance: String,
}

/// A cloud as callers see it.
#[derive(Clone, Debug, Serialize)]
pub struct CloudView {
    /// Its name in the farm.
    pub name: String,
    /// Its driver's name under `known_drivers.cloud`.
    pub engine: String,
    /// Whether its driver can be called, and if not, why; as in `driver list`.
    pub state: DriverState,
    /// What is in the way.
    pub error: Option<String>,
    /// Version of its driver.
    pub version: Option<String>,
    /// The methods that its driver answers.
    pub capabilities: Vec<String>,
}

/// A cloud that can be called.
pub(super) struct Cloud {
    pub name: String,
    pub handle: DriverHandle,
}

impl Clouds {
    /// The clouds of these names, engines and instances in the registry.
    pub fn new(registry: Registry, store: Store, members: impl IntoIterator<Item = (String, String, String)>) -> Self {
        let members = members.into_iter().map(|(name, engine, instance)| (name, Member { engine, instance })).collect();
        Self { inner: Arc::new(Inner { registry, store, members }) }
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// All clouds.
    pub fn list(&self) -> Vec<CloudView> {
        self.inner.members.iter().map(|(name, member)| self.view(name, member)).collect()
    }

    /// One cloud.
    pub(super) fn show(&self, name: &str) -> Result<CloudView, Problem> {
        self.member(name).map(|member| self.view(name, member))
    }

    fn view(&self, name: &str, member: &Member) -> CloudView {
        let info = self.inner.registry.info(Kind::Cloud, &member.instance);
        let manifest = self.inner.registry.manifest(Kind::Cloud, &member.instance);
        let (state, error, version) = match info {
            Ok(info) => (info.state, info.last_error, info.version),
            Err(error) => (DriverState::Failed, Some(error.to_string()), None),
        };
        CloudView {
            name: name.to_owned(),
            engine: member.engine.clone(),
            state,
            error,
            version,
            capabilities: manifest.map(|manifest| manifest.methods.clone()).unwrap_or_default(),
        }
    }

    fn member(&self, name: &str) -> Result<&Member, Problem> {
        self.inner.members.get(name).ok_or_else(|| {
            let known: Vec<_> = self.inner.members.keys().map(String::as_str).collect();
            Problem::not_found(format!("there is no cloud {name:?} in the farm; there are {}", known.join(", ")))
        })
    }

    /// A cloud to be called.
    pub(super) fn cloud(&self, name: &str) -> Result<Cloud, Problem> {
        let member = self.member(name)?;
        let handle = self.inner.registry.handle(Kind::Cloud, &member.instance);
        let handle = handle.map_err(|error| Problem::unavailable(error.to_string()))?;
        Ok(Cloud { name: name.to_owned(), handle })
    }
}

impl Cloud {
    /// The driver, as problems name it.
    pub fn driver(&self) -> String {
        format!("cloud.{}", self.handle.name())
    }

    pub fn problem(&self, error: &DriverError) -> Problem {
        Problem::of_driver(&self.driver(), error)
    }

    pub async fn call<P, R>(&self, method: &str, parameters: &P, options: CallOptions) -> Result<R, DriverError>
    where
        P: Serialize + Sync + ?Sized,
        R: DeserializeOwned,
    {
        self.handle.call(method, parameters, options).await
    }

    /// One node; none when the cloud says that there is none.
    pub async fn node(&self, id: &str) -> Result<Option<Node>, DriverError> {
        if !self.handle.has("get_node") {
            return self.find("list_nodes", List::default(), |node: &Node| node.id == id).await;
        }
        match self.call("get_node", &NodeRequest { id: id.to_owned() }, CallOptions::default()).await {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.code == ErrorCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first entry of a list that is meant.
    pub async fn find<T: DeserializeOwned>(
        &self,
        method: &str,
        mut filter: List,
        is_meant: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, DriverError> {
        filter.limit = Some(PAGE);
        for _ in 0..MOST_PAGES {
            let page: Page<T> = self.call(method, &filter, CallOptions::default()).await?;
            if let Some(found) = page.items.into_iter().find(&is_meant) {
                return Ok(Some(found));
            }
            match page.next {
                None => return Ok(None),
                Some(next) if filter.cursor.as_ref() == Some(&next) => break,
                next => filter.cursor = next,
            }
        }
        Err(DriverError::internal(format!("the cloud's answer to {method} does not end")))
    }

    /// The id of an image that is named by its id or its name.
    pub async fn image(&self, wanted: &str) -> Result<String, Problem> {
        let found =
            self.find("list_images", List::default(), |image: &Image| image.id == wanted || image.name == wanted).await;
        self.named("image", wanted, found.map(|found| found.map(|image| image.id)))
    }

    /// The id of a size that is named by its id or its name.
    pub async fn size(&self, wanted: &str) -> Result<String, Problem> {
        let found =
            self.find("list_sizes", List::default(), |size: &Size| size.id == wanted || size.name == wanted).await;
        self.named("size", wanted, found.map(|found| found.map(|size| size.id)))
    }

    fn named(&self, what: &str, wanted: &str, found: Result<Option<String>, DriverError>) -> Result<String, Problem> {
        let missing = || {
            Problem::unprocessable(format!(
                "the cloud {} has no {what} {wanted:?}; `capstan cloud {what}s {}` lists them",
                self.name, self.name
            ))
            .with("field", what.into())
        };
        found.map_err(|error| self.problem(&error))?.ok_or_else(missing)
    }
}
