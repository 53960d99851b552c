//! The cloud driver `@NAME@`: its nodes are entries in memory. Put your cloud's API where the notes say so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use capstan_plugin_api::{
    CallContext, CloudDriver, ConfigSchema, Driver, DriverError, Host, Outcome,
    cloud::{CreateNode, FarmConfig, Image, List, Node, NodeRequest, Page, Size, node_state},
    driver,
};
use serde::Deserialize;

/// What stands in `extra_params` of a cloud of the farm; the host checks it against this before the driver is opened.
#[derive(Debug, Default, Deserialize, ConfigSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the cloud's API is.
    endpoint: String,
}

pub struct Cloud {
    // Here: a client of the cloud's API, made of this.
    #[expect(dead_code, reason = "the nodes are in memory")]
    settings: Settings,
    /// Each with the token that it was asked for with.
    nodes: Mutex<Vec<(String, Node)>>,
}

impl Cloud {
    fn nodes(&self) -> MutexGuard<'_, Vec<(String, Node)>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn page<T>(items: Vec<T>) -> Page<T> {
    items.into()
}

fn no_node(id: &str) -> DriverError {
    DriverError::not_found(format!("there is no node {id:?}"))
}

impl Driver for Cloud {
    type Config = FarmConfig<Settings>;

    fn open(config: FarmConfig<Settings>, _host: Host) -> Result<Self, DriverError> {
        // Here: config.user and config.password are the account's.
        Ok(Self { settings: config.settings()?, nodes: Mutex::default() })
    }
}

#[driver(name = "@NAME@", vendor = "Your company", description = "Nodes of your cloud", serial_by = "none")]
impl CloudDriver for Cloud {
    fn list_nodes(&self, _call: &CallContext, request: &List) -> Result<Page<Node>, DriverError> {
        let is_wanted = |node: &Node| request.name.as_ref().is_none_or(|name| *name == node.name);
        Ok(page(self.nodes().iter().map(|(_, node)| node.clone()).filter(is_wanted).collect()))
    }

    fn create_node(&self, call: &CallContext, request: &CreateNode) -> Result<Outcome<Node>, DriverError> {
        call.check()?;
        let mut nodes = self.nodes();
        // The same token never makes a second node: the host repeats a call whose answer it has lost.
        let again = nodes.iter().find(|(token, _)| !token.is_empty() && *token == request.client_token);
        if let Some((_, node)) = again {
            return Ok(Outcome::Done(node.clone()));
        }
        // Here: ask the cloud for a node.
        let node = Node {
            id: format!("node-{}", nodes.len() + 1),
            name: request.name.clone(),
            state: node_state::RUNNING.to_owned(),
            image: Some(request.image.clone()),
            size: Some(request.size.clone()),
            tags: request.tags.clone(),
            ..Node::default()
        };
        nodes.push((request.client_token.clone(), node.clone()));
        Ok(Outcome::Done(node))
    }

    fn destroy_node(&self, _call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        let mut nodes = self.nodes();
        let place = nodes.iter().position(|(_, node)| node.id == request.id).ok_or_else(|| no_node(&request.id))?;
        nodes.remove(place);
        Ok(Outcome::Done(()))
    }

    fn get_node(&self, _call: &CallContext, request: &NodeRequest) -> Result<Node, DriverError> {
        let found = self.nodes().iter().find(|(_, node)| node.id == request.id).map(|(_, node)| node.clone());
        found.ok_or_else(|| no_node(&request.id))
    }

    fn list_images(&self, _call: &CallContext, _request: &List) -> Result<Page<Image>, DriverError> {
        Ok(page(vec![Image { id: "image-1".into(), name: "An image".into(), ..Image::default() }]))
    }

    fn list_sizes(&self, _call: &CallContext, _request: &List) -> Result<Page<Size>, DriverError> {
        Ok(page(vec![Size { id: "size-1".into(), name: "A size".into(), ram_mib: 1024, ..Size::default() }]))
    }
}
