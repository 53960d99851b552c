//! What the cloud has, and the paging of its lists.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
};

use capstan_plugin_api::{
    DriverError, ErrorCode,
    cloud::{CreateNode, Image, List, Node, Page, Size, node_state},
};

type Tags = BTreeMap<String, String>;

/// The nodes, by the number in their id.
pub(crate) struct Inventory {
    max_nodes: u32,
    made: u64,
    nodes: BTreeMap<u64, Node>,
    by_token: HashMap<String, u64>,
}

impl Inventory {
    pub(crate) fn new(max_nodes: u32) -> Self {
        Self { max_nodes, made: 0, nodes: BTreeMap::new(), by_token: HashMap::new() }
    }

    pub(crate) fn list(&self, request: &List) -> Result<Page<Node>, DriverError> {
        page(request, self.nodes.iter().map(|(number, node)| (*number, &node.name, Some(&node.tags), node)))
    }

    pub(crate) fn get(&self, id: &str) -> Result<&Node, DriverError> {
        number(id).and_then(|number| self.nodes.get(&number)).ok_or_else(|| unknown("node", id))
    }

    /// A token that was used gives the node that it made; once that is destroyed the token makes a new one.
    pub(crate) fn create(&mut self, request: &CreateNode) -> Result<Node, DriverError> {
        if let Some(made) = self.by_token.get(&request.client_token).and_then(|number| self.nodes.get(number)) {
            return Ok(made.clone());
        }
        if !images().iter().any(|image| image.id == request.image) {
            return Err(unknown("image", &request.image));
        }
        if !sizes().iter().any(|size| size.id == request.size) {
            return Err(unknown("size", &request.size));
        }
        if self.nodes.len() >= self.max_nodes as usize {
            let message = format!("the cloud holds its {} nodes already", self.max_nodes);
            return Err(DriverError::new(ErrorCode::QUOTA_EXCEEDED, message));
        }
        self.made += 1;
        let node = Node {
            id: format!("node-{}", self.made),
            name: request.name.clone(),
            state: node_state::RUNNING.to_owned(),
            private_ips: vec![address(self.made).into()],
            image: Some(request.image.clone()),
            size: Some(request.size.clone()),
            location: request.location.clone(),
            tags: request.tags.clone(),
            ..Node::default()
        };
        if !request.client_token.is_empty() {
            self.by_token.insert(request.client_token.clone(), self.made);
        }
        self.nodes.insert(self.made, node.clone());
        Ok(node)
    }

    pub(crate) fn destroy(&mut self, id: &str) -> Result<(), DriverError> {
        let number = number(id).ok_or_else(|| unknown("node", id))?;
        self.nodes.remove(&number).ok_or_else(|| unknown("node", id))?;
        self.by_token.retain(|_token, made| *made != number);
        Ok(())
    }
}

pub(crate) fn images() -> [Image; 2] {
    [("image-1", "debian-12"), ("image-2", "debian-13")].map(|(id, name)| Image {
        id: id.to_owned(),
        name: name.to_owned(),
        ..Image::default()
    })
}

pub(crate) fn sizes() -> [Size; 3] {
    [("size-1", "small", 1), ("size-2", "medium", 2), ("size-3", "large", 4)].map(|(id, name, vcpus)| Size {
        id: id.to_owned(),
        name: name.to_owned(),
        ram_mib: 2048 * u64::from(vcpus),
        disk_gib: 20 * u64::from(vcpus),
        vcpus,
        ..Size::default()
    })
}

/// One page of `entries` (number, name, tags, object; numbers ascending). A cursor is the number of the last entry given out,
/// so that a list stays whole while nodes come and go.
pub(crate) fn page<'a, T: Clone + 'a>(
    request: &List,
    entries: impl Iterator<Item = (u64, &'a String, Option<&'a Tags>, &'a T)>,
) -> Result<Page<T>, DriverError> {
    let after = match &request.cursor {
        None => None,
        Some(cursor) => Some(
            cursor
                .parse::<u64>()
                .map_err(|_| DriverError::invalid_argument(format!("{cursor:?} is no cursor of this list")))?,
        ),
    };
    let limit = match request.limit {
        Some(0) => return Err(DriverError::invalid_argument("a page has at least one entry")),
        limit => limit.map_or(usize::MAX, |limit| limit as usize),
    };
    let carries = |tags: Option<&Tags>| {
        request.tags.iter().all(|(key, value)| tags.is_some_and(|tags| tags.get(key) == Some(value)))
    };
    let mut matching = entries
        .filter(|(number, ..)| after.is_none_or(|after| *number > after))
        .filter(|(_, name, tags, _)| request.name.as_ref().is_none_or(|wanted| wanted == *name) && carries(*tags))
        .peekable();
    let mut items = Vec::new();
    let mut last = 0;
    while items.len() < limit
        && let Some((number, _, _, object)) = matching.next()
    {
        items.push(object.clone());
        last = number;
    }
    Ok(Page { items, next: matching.peek().map(|_| last.to_string()) })
}

fn number(id: &str) -> Option<u64> {
    id.strip_prefix("node-").filter(|number| !number.starts_with(['0', '+']))?.parse().ok()
}

fn unknown(what: &str, id: &str) -> DriverError {
    DriverError::not_found(format!("the cloud has no {what} {id:?}"))
}

/// 10.0.0.1 and on; the network has room for 16 million nodes and then begins again.
fn address(number: u64) -> Ipv4Addr {
    Ipv4Addr::from(0x0A00_0000 | (number & 0x00FF_FFFF) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, token: &str) -> CreateNode {
        CreateNode {
            name: name.into(),
            image: "image-1".into(),
            size: "size-3".into(),
            client_token: token.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_token_makes_one_node_until_that_is_destroyed() {
        let mut cloud = Inventory::new(10);
        let first = cloud.create(&wanted("a", "t")).unwrap();
        assert_eq!(cloud.create(&wanted("a", "t")).unwrap(), first);
        assert_ne!(cloud.create(&wanted("a", "")).unwrap().id, cloud.create(&wanted("a", "")).unwrap().id);
        cloud.destroy(&first.id).unwrap();
        assert_eq!(cloud.destroy(&first.id).unwrap_err().code, ErrorCode::NOT_FOUND);
        assert_ne!(cloud.create(&wanted("a", "t")).unwrap().id, first.id);
    }

    #[test]
    fn unknown_ids_and_full_clouds_are_named() {
        let mut cloud = Inventory::new(1);
        for (image, size) in [("image-9", "size-1"), ("image-1", "size-9")] {
            let request = CreateNode { image: image.into(), size: size.into(), ..Default::default() };
            assert_eq!(cloud.create(&request).unwrap_err().code, ErrorCode::NOT_FOUND);
        }
        cloud.create(&wanted("a", "")).unwrap();
        assert_eq!(cloud.create(&wanted("b", "")).unwrap_err().code, ErrorCode::QUOTA_EXCEEDED);
        for id in ["node-2", "node-01", "node-+1", "1", ""] {
            assert_eq!(cloud.get(id).unwrap_err().code, ErrorCode::NOT_FOUND, "{id}");
        }
    }

    #[test]
    fn pages_hold_every_node_once_while_nodes_go() {
        let mut cloud = Inventory::new(100);
        for i in 0..7 {
            cloud.create(&wanted(if i % 2 == 0 { "even" } else { "odd" }, "")).unwrap();
        }
        let first = cloud.list(&List { limit: Some(3), ..Default::default() }).unwrap();
        assert_eq!(first.items.len(), 3);
        cloud.destroy("node-3").unwrap();
        let rest = cloud.list(&List { cursor: first.next, limit: Some(4), ..Default::default() }).unwrap();
        let ids: Vec<_> = rest.items.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["node-4", "node-5", "node-6", "node-7"]);
        assert_eq!(rest.next, None);
        let odd = cloud.list(&List { name: Some("odd".into()), limit: Some(2), ..Default::default() }).unwrap();
        assert_eq!((odd.items.len(), odd.next.as_deref()), (2, Some("4")));
        for bad in [
            List { limit: Some(0), ..Default::default() },
            List { cursor: Some("next please".into()), ..Default::default() },
        ] {
            assert_eq!(cloud.list(&bad).unwrap_err().code, ErrorCode::INVALID_ARGUMENT);
        }
    }
}
