//! What is checked of one member.

use capstan_plugin_api::{
    DriverError,
    load_balancer::{self, MemberState},
};

use super::Member;
use crate::config::{
    Host,
    token::{self, Kind},
};

/// Greatest weight: HAProxy's own.
const MAX_WEIGHT: u32 = 256;

/// Reads one member, or refuses it in libra's words where libra had any.
pub fn read(member: &load_balancer::Member) -> Result<Member, DriverError> {
    let refuse = |message: String| Err(DriverError::invalid_argument(message));
    identifier("node", &member.id)?;
    let Some(host) = Host::read(&member.address) else {
        return refuse(format!(
            "Node {:?} has the address {:?}; an IPv4 or IPv6 address or a host name was expected",
            member.id,
            shortened(&member.address)
        ));
    };
    if let Host::Ip(ip) = host
        && (ip.is_unspecified() || ip.is_multicast())
    {
        return refuse(format!("Node {:?} has the address {ip}, which no server can have", member.id));
    }
    if member.port == 0 {
        return refuse(format!("Node {:?} has port 0; 1 to 65535 was expected", member.id));
    }
    if member.weight > MAX_WEIGHT {
        return refuse(format!("Server 'weight' {} exceeds max of {MAX_WEIGHT}", member.weight));
    }
    if member.weight == 0 {
        return refuse("Server 'weight' 0 is below min of 1".to_owned());
    }
    Ok(Member {
        id: member.id.clone(),
        host,
        port: member.port,
        weight: member.weight,
        backup: member.backup,
        state: member.state,
    })
}

/// At most one member of a Galera pool takes traffic by itself.
pub fn second_writer(writer: &mut bool, member: &Member) -> Result<(), DriverError> {
    if member.backup || member.state == MemberState::Disabled {
        return Ok(());
    }
    if std::mem::replace(writer, true) {
        return Err(DriverError::invalid_argument("Galera protocol does not accept more than one non-backup node"));
    }
    Ok(())
}

/// Ids become part of names, so they are letters, digits, `.`, `_` and `-`, at most 64 bytes.
pub fn identifier(what: &str, id: &str) -> Result<(), DriverError> {
    if id.len() <= 64 && token::check(Kind::Name, id).is_ok() {
        return Ok(());
    }
    Err(DriverError::invalid_argument(format!(
        "The {what} id {:?} cannot be used; 1 to 64 letters, digits, '.', '_' and '-' were expected",
        shortened(id)
    )))
}

/// Enough of a text for a message.
pub fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
