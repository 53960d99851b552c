//! A cloud as the pool sees it: a driver, asked at a pace, whose answers are looked at before they are believed.

mod floating;
mod ids;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use capstan_plugin_api::{
    DriverError, ErrorCode, Retry, Token,
    cloud::{CreateNode, List, Node, NodeRequest, Page},
};
use serde::{Serialize, de::DeserializeOwned};

use self::ids::Ids;
use super::{caller::Caller, pace::Pace};
use crate::drivers::{CallOptions, DriverHandle};

/// Tag: the deployment that a node belongs to.
pub const OWNER: &str = "capstan-owner";
/// Tag: our id of the node.
pub const NODE: &str = "capstan-node";
/// Tag: the stock it was built for.
pub const STOCK: &str = "capstan-stock";
/// Tag: what it is like.
pub const KEY: &str = "capstan-key";

/// Entries of one page of a list.
const PAGE: u32 = 1000;
/// A list that does not end is given up after so many pages.
const MOST_PAGES: usize = 10_000;
/// How long a cloud is left alone that asks for rest and does not say how long.
const REST: Duration = Duration::from_secs(2);
/// An id longer than this is none.
const LONGEST_ID: usize = 512;

/// A cloud of the farm.
pub struct Cloud {
    /// Its name in the farm.
    pub name: String,
    driver: Caller,
    pace: Pace,
    calls: AtomicU64,
    rests: AtomicU64,
    ids: Ids,
}

/// Whether a create that failed may have made a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// Certainly not.
    No,
    /// It may have.
    Perhaps,
}

impl Made {
    pub fn by(error: &DriverError) -> Self {
        let never = [
            ErrorCode::AUTH_FAILED,
            ErrorCode::QUOTA_EXCEEDED,
            ErrorCode::RATE_LIMITED,
            ErrorCode::INVALID_ARGUMENT,
            ErrorCode::NOT_SUPPORTED,
            ErrorCode::NOT_FOUND,
        ];
        if never.contains(&error.code) { Self::No } else { Self::Perhaps }
    }
}

impl Cloud {
    /// A cloud that is asked at most so often in a second.
    pub fn new(name: impl Into<String>, handle: DriverHandle, calls_per_second: u32) -> Self {
        Self {
            name: name.into(),
            driver: Caller::new(handle),
            pace: Pace::new(calls_per_second),
            calls: AtomicU64::new(0),
            rests: AtomicU64::new(0),
            ids: Ids::default(),
        }
    }

    /// From now on it is asked at most so often in a second.
    pub(super) fn ask_at_most(&self, calls_per_second: u32) {
        self.pace.at_most(calls_per_second);
    }

    /// How long the cloud is still left alone.
    pub fn resting(&self) -> Duration {
        self.pace.resting()
    }

    /// How often it was called, and how often it asked for rest.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.rests.load(Ordering::Relaxed))
    }

    /// The driver answers this method.
    pub fn has(&self, method: &str) -> bool {
        self.driver.has(method)
    }

    async fn call<P, R>(&self, method: &str, parameters: &P, options: CallOptions) -> Result<R, DriverError>
    where
        P: Serialize + Sync + ?Sized,
        R: DeserializeOwned,
    {
        self.pace.turn().await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = self.driver.call(method, parameters, options).await;
        if let Err(error) = &answer
            && error.code == ErrorCode::RATE_LIMITED
        {
            self.rests.fetch_add(1, Ordering::Relaxed);
            self.pace.rest(match error.retry {
                Retry::After(time) => time,
                _ => REST,
            });
        }
        answer
    }

    /// Asks for a node. `options` carries the hook that keeps the token of a pending call.
    pub async fn create(&self, request: &CreateNode, options: CallOptions) -> Result<Node, DriverError> {
        let answer = self.call("create_node", request, options).await;
        // What was asked for may not be there any more under its id.
        if answer
            .as_ref()
            .is_err_and(|error: &DriverError| [ErrorCode::NOT_FOUND, ErrorCode::INVALID_ARGUMENT].contains(&error.code))
        {
            self.forget_ids();
        }
        answer.and_then(sane)
    }

    /// Finds a pending `create_node` again.
    pub async fn recover(&self, token: &str, options: CallOptions) -> Result<Node, DriverError> {
        self.call("recover", &Token { token: token.to_owned() }, options).await.and_then(sane)
    }

    /// The nodes of exactly this name.
    pub async fn named(&self, name: &str) -> Result<Vec<Node>, DriverError> {
        let mut found = Vec::new();
        let filter = List { name: Some(name.to_owned()), ..List::default() };
        self.each_page(filter, |page| {
            // A driver that does not filter is filtered here.
            found.extend(page.into_iter().filter(|node| node.name == name));
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// One node; none when the cloud says that there is none. `name` is for drivers that cannot look up an id.
    pub async fn get(&self, id: &str, name: &str) -> Result<Option<Node>, DriverError> {
        if !self.driver.has("get_node") {
            return Ok(self.named(name).await?.into_iter().find(|node| node.id == id));
        }
        match self.call("get_node", &NodeRequest { id: id.to_owned() }, CallOptions::default()).await {
            Ok(node) => sane(node).map(Some),
            Err(error) if error.code == ErrorCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a node; one that is not there is no error.
    pub async fn destroy(&self, id: &str, options: CallOptions) -> Result<(), DriverError> {
        match self.call::<_, ()>("destroy_node", &NodeRequest { id: id.to_owned() }, options).await {
            Err(error) if error.code != ErrorCode::NOT_FOUND => Err(error),
            _ => Ok(()),
        }
    }

    /// Hands over the nodes that carry all these tags, page by page.
    pub async fn tagged(
        &self,
        tags: BTreeMap<String, String>,
        mut take: impl FnMut(Vec<Node>) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let carries = tags.clone();
        let filter = List { tags, ..List::default() };
        self.each_page(filter, |page| {
            let is_tagged = |node: &Node| carries.iter().all(|(name, value)| node.tags.get(name) == Some(value));
            take(page.into_iter().filter(is_tagged).collect())
        })
        .await
    }

    async fn each_page(
        &self,
        mut filter: List,
        mut take: impl FnMut(Vec<Node>) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        filter.limit = Some(PAGE);
        for _ in 0..MOST_PAGES {
            let page: Page<Node> = self.call("list_nodes", &filter, CallOptions::default()).await?;
            // One that cannot be named cannot be worked on either; the others can.
            take(page.items.into_iter().filter_map(|node| sane(node).ok()).collect())?;
            match page.next {
                None => return Ok(()),
                Some(next) if filter.cursor.as_ref() == Some(&next) => {
                    return Err(DriverError::internal("the cloud's list of nodes goes in a circle"));
                }
                next => filter.cursor = next,
            }
        }
        Err(DriverError::internal("the cloud's list of nodes does not end"))
    }
}

/// A node that can be called by its id, and whose words can be stored.
fn sane(mut node: Node) -> Result<Node, DriverError> {
    for text in [&mut node.fault, &mut node.host, &mut node.location].into_iter().flatten().chain([&mut node.state]) {
        *text = text.replace('\0', "\u{fffd}");
    }
    let is_plain = |text: &str| text.len() <= LONGEST_ID && !text.chars().any(char::is_control);
    if !node.id.is_empty() && is_plain(&node.id) && is_plain(&node.name) {
        return Ok(node);
    }
    Err(DriverError::internal("the cloud answered with a node that has no usable id").for_operator(format!(
        "its id has {} bytes, its name {}",
        node.id.len(),
        node.name.len()
    )))
}

/// What a node shares with others that fail together with it: the host that the cloud names, or else the location.
pub(super) fn host(node: &Node) -> Option<String> {
    node.host.clone().or_else(|| node.location.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cloud_says_of_a_node_can_be_stored() {
        let text = || Some("no\0 host".to_owned());
        let node = Node {
            id: "1".to_owned(),
            state: "a\0".to_owned(),
            fault: text(),
            host: text(),
            location: text(),
            ..Node::default()
        };
        let node = sane(node).unwrap();
        assert!(
            ![Some(node.state), node.fault, node.host, node.location].iter().flatten().any(|text| text.contains('\0'))
        );
        assert!(sane(Node { id: "1\0".to_owned(), ..Node::default() }).is_err());
    }
}
