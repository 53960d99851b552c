//! Key pairs and security groups.

use capstan_plugin_api::{
    DriverError, ErrorCode, Secret,
    cloud::{KeyPair, List, NewKeyPair, NewSecurityGroup, Page, SecurityGroup},
};

use super::{
    change::{Change, Plan, Turn},
    paging::few,
    shelf::within,
    state::World,
};
use crate::{catalog::unknown, config::Settings, random::index_hash};

impl World {
    pub(crate) fn list_key_pairs(&self, request: &List, settings: &Settings) -> Result<Page<KeyPair>, DriverError> {
        let all = self.key_pairs.items.iter().map(|(number, pair)| (*number, pair.clone()));
        few(request, settings.page_size, all, |pair| &pair.name)
    }

    /// A pair that the cloud makes is good for nothing but to be shown.
    pub(crate) fn create_key_pair(&self, request: &NewKeyPair, turn: &Turn<'_>) -> Plan<KeyPair> {
        named(&request.name)?;
        if self.key_pair(&request.name).is_ok() {
            return Err(exists("key pair", &request.name));
        }
        within("key_pairs", self.key_pairs.len(), 1, turn.settings.quotas.key_pairs)?;
        let number = self.key_pairs.made + 1;
        let public_key =
            request.public_key.clone().unwrap_or_else(|| format!("ssh-ed25519 dummy{number} {}", request.name));
        let fingerprint = format!("{:016x}", index_hash(&public_key));
        let pair = KeyPair { name: request.name.clone(), fingerprint, public_key: Some(public_key), private_key: None };
        let private = request.public_key.is_none().then(|| {
            Secret::new(format!("-----BEGIN DUMMY PRIVATE KEY-----\n{number}\n-----END DUMMY PRIVATE KEY-----\n"))
        });
        let answer = KeyPair { private_key: private, ..pair.clone() };
        Ok((vec![Change::KeyPair(number, Some(pair))], answer))
    }

    pub(crate) fn delete_key_pair(&self, name: &str) -> Plan<()> {
        Ok((vec![Change::KeyPair(self.key_pair(name)?, None)], ()))
    }

    pub(super) fn key_pair(&self, name: &str) -> Result<u64, DriverError> {
        let found = self.key_pairs.items.iter().find(|(_, pair)| pair.name == name);
        found.map(|(number, _)| *number).ok_or_else(|| unknown("key pair", name))
    }

    pub(crate) fn list_security_groups(
        &self,
        request: &List,
        settings: &Settings,
    ) -> Result<Page<SecurityGroup>, DriverError> {
        let all = self.groups.items.iter().map(|(number, group)| (*number, group.clone()));
        few(request, settings.page_size, all, |group| &group.name)
    }

    pub(crate) fn create_security_group(&self, request: &NewSecurityGroup, turn: &Turn<'_>) -> Plan<SecurityGroup> {
        named(&request.name)?;
        if self.security_group(&request.name).is_ok() {
            return Err(exists("security group", &request.name));
        }
        within("security_groups", self.groups.len(), 1, turn.settings.quotas.security_groups)?;
        let number = self.groups.made + 1;
        let group = SecurityGroup {
            id: format!("group-{number}"),
            name: request.name.clone(),
            description: request.description.clone(),
            rules: request.rules.clone(),
        };
        Ok((vec![Change::SecurityGroup(number, Some(group.clone()))], group))
    }

    pub(crate) fn delete_security_group(&self, id: &str) -> Plan<()> {
        let number = self.security_group(id)?;
        let name = self.groups.items.get(&number).map_or("", |group| &group.name);
        let is_used = self
            .nodes
            .items
            .values()
            .filter_map(|node| node.details.as_ref())
            .any(|details| details.security_groups.iter().any(|used| used == id || used == name));
        if is_used {
            return Err(DriverError::conflict("the security group is in use by a node"));
        }
        Ok((vec![Change::SecurityGroup(number, None)], ()))
    }

    /// By its id or its name.
    pub(super) fn security_group(&self, id: &str) -> Result<u64, DriverError> {
        let found = self.groups.items.iter().find(|(_, group)| group.id == id || group.name == id);
        found.map(|(number, _)| *number).ok_or_else(|| unknown("security group", id))
    }
}

fn named(name: &str) -> Result<(), DriverError> {
    if name.is_empty() || name.len() > 255 {
        return Err(DriverError::invalid_argument(format!("a name has 1 to 255 bytes, this one {}", name.len())));
    }
    Ok(())
}

fn exists(what: &str, name: &str) -> DriverError {
    DriverError::new(ErrorCode::ALREADY_EXISTS, format!("there is a {what} {name:?} already"))
}
