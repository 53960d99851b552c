//! From what is wanted to the typed configuration, line by line as libra's last generation wrote it (`docs/contract/haproxy.md`).

use md5::{Digest, Md5};

use super::{Service, Slots, Sticky, Wanted};
use crate::{
    config::{
        Configuration, Directive, Expire, Head, Host, LogTarget, Mode, ProxyOption, Section, Server, StatsSocket,
        StickTable, TokenError,
    },
    runtime::Info,
};

/// Connections of one proxy, where a listener sets no limit: libra's.
const PROXY_MAXCONN: u32 = 50_000;
/// Where an empty slot points: an address that belongs to nobody (RFC 5737) and the discard port.
const NOBODY: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// What a file says about itself, and the running process repeats in `show info`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Marker {
    /// Directory name of the device.
    pub device: String,
    /// Number of the file, grows with each one that is loaded.
    pub load: u64,
    /// Generation of the specification that it was written for.
    pub generation: u64,
    /// Digest of everything that cannot be changed at run time.
    pub shape: String,
}

impl Marker {
    fn words(&self) -> Vec<String> {
        vec![
            "capstan".to_owned(),
            format!("device={}", self.device),
            format!("load={}", self.load),
            format!("generation={}", self.generation),
            format!("shape={}", self.shape),
        ]
    }

    /// Reads the description of a running process; none when it is not one of ours.
    pub fn read(info: &Info) -> Option<Self> {
        let mut words = info.description.split(' ');
        if words.next() != Some("capstan") {
            return None;
        }
        let mut value = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
        Some(Self {
            device: value("device")?.to_owned(),
            load: value("load")?.parse().ok()?,
            generation: value("generation")?.parse().ok()?,
            shape: value("shape")?.to_owned(),
        })
    }
}

/// What the file says besides the services.
#[derive(Clone, Debug)]
pub struct Rendering {
    /// Where HAProxy logs to.
    pub log: LogTarget,
    /// Connections of the process.
    pub maxconn: u32,
    /// User and group to become; none when HAProxy is not started by root.
    pub identity: Option<(String, String)>,
    /// The socket of the runtime API.
    pub socket: StatsSocket,
    /// Seconds that a replaced process may live on.
    pub hard_stop_after_s: u32,
    /// Empty slots in each backend with cookies.
    pub spare_slots: u16,
}

impl Rendering {
    /// The whole file.
    pub fn configuration(&self, wanted: &Wanted, slots: &Slots, marker: &Marker) -> Configuration {
        let mut sections = vec![
            Section { head: Head::Global, directives: self.global(Some(marker)) },
            Section { head: Head::Defaults, directives: defaults() },
        ];
        for service in &wanted.services {
            sections
                .push(Section { head: Head::Frontend(service.names.frontend.clone()), directives: frontend(service) });
            let mut directives = backend(service);
            directives.extend(service.members.iter().map(|member| Directive::Server(service.server(member, slots))));
            if service.has_slots() {
                let spare = slots.spare(&service.names.backend, self.spare_slots.into());
                directives.extend(spare.into_iter().map(|number| Directive::Server(empty_slot(service, number))));
            }
            sections.push(Section { head: Head::Backend(service.names.backend.clone()), directives });
        }
        Configuration { sections }
    }

    fn global(&self, marker: Option<&Marker>) -> Vec<Directive> {
        let mut directives =
            vec![Directive::Daemon, Directive::Log(self.log.clone()), Directive::MaxConn(self.maxconn)];
        if let Some((user, group)) = &self.identity {
            directives.extend([Directive::User(user.clone()), Directive::Group(group.clone())]);
        }
        directives
            .extend([Directive::StatsSocket(self.socket.clone()), Directive::HardStopAfter(self.hard_stop_after_s)]);
        directives.extend(marker.map(|marker| Directive::Description(marker.words())));
        directives
    }
}

/// Digest of everything that needs a reload to change: all but the marker, the servers and the number of empty slots.
pub fn shape(rendering: &Rendering, wanted: &Wanted) -> Result<String, TokenError> {
    let mut sections = vec![Section { head: Head::Global, directives: rendering.global(None) }];
    sections.push(Section { head: Head::Defaults, directives: defaults() });
    for service in &wanted.services {
        sections.push(Section { head: Head::Frontend(service.names.frontend.clone()), directives: frontend(service) });
        let mut directives = backend(service);
        // Stands for how every server of the backend is checked.
        directives.push(Directive::Server(empty_slot(service, 0)));
        sections.push(Section { head: Head::Backend(service.names.backend.clone()), directives });
    }
    let text = Configuration { sections }.write()?;
    Ok(Md5::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn defaults() -> Vec<Directive> {
    vec![
        Directive::LogGlobal,
        Directive::Option(ProxyOption::DontLogNull),
        Directive::Option(ProxyOption::Redispatch),
        Directive::MaxConn(PROXY_MAXCONN),
    ]
}

fn frontend(service: &Service) -> Vec<Directive> {
    let mut directives = vec![Directive::Mode(service.mode), Directive::Bind(service.bind)];
    directives.push(Directive::TimeoutClient(service.client_ms));
    directives.extend(service.connection_limit.map(Directive::MaxConn));
    directives.push(Directive::DefaultBackend(service.names.backend.clone()));
    directives.push(Directive::Option(match service.mode {
        Mode::Http => ProxyOption::HttpLog,
        Mode::Tcp => ProxyOption::TcpLog,
    }));
    if service.suspended {
        directives.push(Directive::Disabled);
    }
    directives
}

fn backend(service: &Service) -> Vec<Directive> {
    let mut directives = vec![
        Directive::Mode(service.mode),
        Directive::Balance(service.balance),
        Directive::TimeoutConnect(service.connect_ms),
        Directive::TimeoutServer(service.server_ms),
        Directive::Retries(service.retries),
    ];
    if let Sticky::Cookie(name) = &service.sticky {
        directives.push(Directive::CookieInsert(name.clone()));
    }
    if service.mode == Mode::Http {
        directives.push(Directive::Option(ProxyOption::HttpClose));
        directives.push(Directive::Option(ProxyOption::ForwardFor));
    }
    if let Sticky::Source(expire) = service.sticky {
        directives.extend([
            Directive::StickTable(StickTable {
                ipv6: service.bind.is_ipv6(),
                expire: expire.map_or(Expire::Minutes(30), Expire::Seconds),
            }),
            Directive::StickStoreSource,
            Directive::StickMatchSource,
        ]);
    }
    if let Some(monitor) = &service.monitor {
        directives.extend(monitor.path.clone().map(Directive::HttpCheck));
        directives.push(Directive::TimeoutCheck(monitor.timeout_s));
    }
    directives
}

/// A server rendered beforehand, out of use until a member is put into it.
fn empty_slot(service: &Service, number: u32) -> Server {
    let name = Slots::name(number);
    Server {
        cookie: service.has_slots().then(|| name.clone()),
        name,
        host: Host::Ip(NOBODY),
        port: 9,
        backup: false,
        weight: 1,
        disabled: true,
        check: service.check(),
    }
}
