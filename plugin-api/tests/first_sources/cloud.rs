//! A cloud of the first release.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use capstan_plugin_api::{
    CallContext, CloudDriver, ConfigSchema, Driver, DriverError, ErrorCode, Health, Host, LogLevel, Outcome, Retry,
    Secret, Token,
    cloud::{
        AllocateIp, AssignIp, CreateNode, FloatingIp, Image, Ip, KeyPair, List, NewKeyPair, Node, NodeRequest, Page,
        Quota, Quotas, Reboot, Size, Volume, VolumeRequest, node_state,
    },
};
use serde::Deserialize;

#[derive(Deserialize, ConfigSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Where the cloud is.
    pub base_url: String,
    /// What to say to it.
    pub secret: Secret,
    #[serde(default)]
    pub verify: bool,
    pub region: Option<String>,
    #[serde(default, rename = "retries")]
    pub attempts: u32,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub mode: Mode,
    #[serde(skip)]
    pub calls: u64,
}

#[derive(Debug, Default, Deserialize, ConfigSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Fast,
    Careful,
}

pub struct Acme {
    config: Config,
    host: Host,
}

impl Driver for Acme {
    type Config = Config;

    fn open(config: Config, host: Host) -> Result<Self, DriverError> {
        host.log(LogLevel::Info, &config.base_url);
        Ok(Self { config, host })
    }

    fn health(&self) -> Result<Health, DriverError> {
        let Config { base_url, secret, verify, region, attempts, headers, mode, calls } = &self.config;
        let message = format!("{base_url} {secret:?} {verify} {region:?} {attempts} {headers:?} {mode:?} {calls}");
        Ok(Health { message, ..Default::default() })
    }

    fn close(self) {
        self.host.log_with(LogLevel::Debug, "close", "bye", &serde_json::Map::new());
    }
}

fn busy() -> DriverError {
    DriverError::new(ErrorCode::RATE_LIMITED, "the cloud is busy")
        .for_operator("429")
        .retry(Retry::After(Duration::from_secs(1)))
}

impl CloudDriver for Acme {
    fn list_nodes(&self, call: &CallContext, request: &List) -> Result<Page<Node>, DriverError> {
        call.check()?;
        let List { cursor, limit, name, tags, .. } = request;
        call.log(LogLevel::Debug, &format!("{cursor:?} {limit:?} {name:?} {tags:?}"));
        let node = Node {
            id: "1".into(),
            name: "one".into(),
            state: node_state::RUNNING.into(),
            public_ips: vec![IpAddr::from([127, 0, 0, 1])],
            ..Default::default()
        };
        Ok(Page { items: vec![node], next: None, ..Default::default() })
    }

    fn create_node(&self, call: &CallContext, request: &CreateNode) -> Result<Outcome<Node>, DriverError> {
        if call.cancelled() || call.time_left().is_zero() {
            return Err(DriverError::cancelled());
        }
        call.progress(1, 2, "asked");
        let _hidden = request.user_data.expose();
        Ok(Outcome::pending(request.client_token.clone(), Duration::from_secs(1)))
    }

    fn destroy_node(&self, _call: &CallContext, request: &NodeRequest) -> Result<Outcome<()>, DriverError> {
        if request.id.is_empty() { Err(DriverError::not_found("no such node")) } else { Ok(().into()) }
    }

    fn list_images(&self, _call: &CallContext, _request: &List) -> Result<Page<Image>, DriverError> {
        Ok(vec![Image { id: "i".into(), name: "debian".into(), ..Default::default() }].into())
    }

    fn list_sizes(&self, _call: &CallContext, _request: &List) -> Result<Page<Size>, DriverError> {
        let size = Size { id: "s".into(), ram_mib: 512, disk_gib: 10, vcpus: 1, ..Default::default() };
        Ok(Page::from(vec![size]))
    }

    fn poll(&self, _call: &CallContext, token: &Token) -> Result<Outcome<serde_json::Value>, DriverError> {
        Ok(Outcome::Done(serde_json::Value::String(token.token.clone())))
    }

    fn reboot_node(&self, _call: &CallContext, request: &Reboot) -> Result<Outcome<()>, DriverError> {
        if request.hard { Err(busy()) } else { Ok(Outcome::Done(())) }
    }

    fn quotas(&self, _call: &CallContext, _request: &List) -> Result<Quotas, DriverError> {
        let quota = Quota { name: "nodes".into(), used: 1, limit: Some(2), ..Default::default() };
        Ok(Quotas { quotas: vec![quota], ..Default::default() })
    }

    fn create_key_pair(&self, _call: &CallContext, request: &NewKeyPair) -> Result<KeyPair, DriverError> {
        Ok(KeyPair { name: request.name.clone(), private_key: Some(Secret::new("pem")), ..Default::default() })
    }

    fn allocate_ip(&self, _call: &CallContext, request: &AllocateIp) -> Result<FloatingIp, DriverError> {
        let address = IpAddr::from([127, 0, 0, 2]);
        Ok(FloatingIp { id: "f".into(), address, pool: request.pool.clone(), ..Default::default() })
    }

    fn release_ip(&self, _call: &CallContext, request: &Ip) -> Result<(), DriverError> {
        Err(DriverError::conflict(format!("{} is in use", request.address)))
    }

    fn assign_ip(&self, _call: &CallContext, request: &AssignIp) -> Result<(), DriverError> {
        Err(DriverError::not_supported(format!("{} on {}", request.address, request.node)))
    }

    fn detach_volume(&self, _call: &CallContext, request: &VolumeRequest) -> Result<Volume, DriverError> {
        Ok(Volume { id: request.id.clone(), state: "available".into(), size_gib: 1, ..Default::default() })
    }
}
