//! How a node comes into being.

use capstan_plugin_api::{
    DriverError, Outcome, Pending,
    cloud::{CreateNode, Node},
};

use super::{
    change::{Change, Plan, Turn, nothing},
    fate::Fate,
    node::{Details, Phase, Record},
    shelf::within,
    state::World,
    tags::Tags,
};
use crate::{catalog::Contents, faults::Fault};

/// Bytes of a name.
const LONGEST_NAME: usize = 255;
/// Bytes of user data; what Nova takes once it is encoded.
const MOST_USER_DATA: usize = 64 << 10;

/// A node that was made or found.
pub(crate) struct Made {
    pub node: Node,
    /// How to ask for it until it is built; none once it is.
    pub pending: Option<Pending>,
}

impl Made {
    /// For a cloud that answers a create when the node is built.
    pub(crate) fn pending(self) -> Outcome<Node> {
        self.pending.map_or(Outcome::Done(self.node), Outcome::Pending)
    }
}

impl World {
    /// A token that was used gives the node that it made; once that is destroyed the token makes a new one.
    pub(crate) fn create_node(&self, request: &CreateNode, turn: &Turn<'_>) -> Plan<Made> {
        if let Some((number, record)) = self.by_token(&request.client_token).filter(|_| turn.settings.client_tokens) {
            self.is_the_same(request, record)?;
            return nothing(self.made(number, record, turn));
        }
        let number = self.nodes.made + 1;
        let record = self.record(number, request, turn)?;
        let mut changes = vec![Change::Node(number, Some(record.clone()))];
        let is_twice = turn.fired.has(Fault::DuplicateNode);
        if is_twice || turn.fired.has(Fault::DuplicateName) {
            let (tags, token) = if is_twice { (record.tags.clone(), record.token.clone()) } else { Default::default() };
            changes.push(Change::Node(number + 1, Some(Record { tags, token, ..record.clone() })));
        }
        let made = self.made(number, &record, turn);
        Ok((changes, made))
    }

    pub(super) fn made(&self, number: u64, record: &Record, turn: &Turn<'_>) -> Made {
        Made { node: record.view(number, self, turn.settings, turn.now), pending: record.pending(number, turn.now) }
    }

    fn is_the_same(&self, request: &CreateNode, record: &Record) -> Result<(), DriverError> {
        let is_same = self.contents().image(&request.image).is_ok_and(|image| image == record.image)
            && self.contents().size(&request.size).is_ok_and(|size| size == record.size)
            && (self.contents() == Contents::Libcloud || *record.name == *request.name);
        if is_same {
            return Ok(());
        }
        Err(DriverError::invalid_argument(
            "the client token was used for a node of another name, image or size; a token belongs to one request",
        ))
    }

    fn record(&self, number: u64, request: &CreateNode, turn: &Turn<'_>) -> Result<Record, DriverError> {
        let (contents, settings) = (self.contents(), turn.settings);
        let tags = Tags::of(&request.tags).map_err(DriverError::invalid_argument)?;
        self.check(request)?;
        let (image, size) = (contents.image(&request.image)?, contents.size(&request.size)?);
        let location = request.location.as_deref().map(|location| contents.location(location)).transpose()?;
        let (vcpus, ram_mib) = contents.weight(size);
        within("nodes", self.living, 1, Some(u64::from(settings.max_nodes)))?;
        within("vcpus", self.vcpus, vcpus, settings.quotas.vcpus)?;
        within("ram_mib", self.ram_mib, ram_mib, settings.quotas.ram_mib)?;
        let details = Details {
            key_pair: request.key_pair.clone(),
            security_groups: request.security_groups.clone(),
            networks: request.networks.clone(),
            user_data_bytes: request.user_data.expose().len(),
        };
        let mut record = Record {
            id: None,
            name: request.name.as_str().into(),
            token: request.client_token.as_str().into(),
            tags,
            image,
            size,
            location: location.unwrap_or_else(|| contents.location_in_turn(number)),
            host: (number.saturating_sub(1) % u64::from(settings.hosts)) as u16 + 1,
            created: turn.now,
            phase: Phase::Starting,
            until: turn.now.saturating_add(turn.build_ms),
            seen_from: turn.fired.delay(Fault::EventuallyConsistent).map_or(0, |delay| turn.now.saturating_add(delay)),
            gone_from: turn.fired.delay(Fault::Vanish).map(|delay| turn.now.saturating_add(delay)),
            is_destroyed: false,
            fate: Fate::of(turn),
            details: (details != Details::default()).then(|| Box::new(details)),
        };
        if contents == Contents::Libcloud {
            // As there: the next number after how many there are, given before or not.
            let next = self.living + 1;
            record.id = Some(next.to_string().into());
            record.name = format!("dummy-{next}").into();
        }
        if turn.fired.has(Fault::ReusedId) {
            record.id = self.last_gone.clone().or_else(|| self.newest_id()).or(record.id);
        }
        Ok(record)
    }

    fn newest_id(&self) -> Option<Box<str>> {
        self.nodes.items.last_key_value().map(|(number, record)| record.id(*number).into())
    }

    fn check(&self, request: &CreateNode) -> Result<(), DriverError> {
        if request.name.is_empty() || request.name.len() > LONGEST_NAME {
            let found = request.name.len();
            return Err(DriverError::invalid_argument(format!(
                "a name has 1 to {LONGEST_NAME} bytes, this one {found}"
            )));
        }
        let user_data = request.user_data.expose().len();
        if user_data > MOST_USER_DATA {
            let message = format!("user data has at most {MOST_USER_DATA} bytes, this {user_data}");
            return Err(DriverError::invalid_argument(message));
        }
        if let Some(name) = &request.key_pair {
            self.key_pair(name)?;
        }
        request.security_groups.iter().try_for_each(|group| self.security_group(group).map(drop))?;
        request.networks.iter().try_for_each(|network| self.contents().network(network))
    }
}

impl Record {
    /// One of the nodes that Libcloud's dummy has at the start.
    pub(super) fn of_libcloud(number: u64, now: i64) -> Self {
        Self {
            id: Some(number.to_string().into()),
            name: format!("dummy-{number}").into(),
            token: Box::default(),
            tags: Tags::default(),
            image: 0,
            size: 0,
            location: 0,
            host: 1,
            created: now,
            phase: Phase::Starting,
            until: now,
            seen_from: 0,
            gone_from: None,
            is_destroyed: false,
            fate: None,
            details: None,
        }
    }
}
