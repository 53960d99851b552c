//! A daemon that keeps a stock of nodes in one cloud, with the devices in its own API server.

use std::path::Path;

use crate::{
    daemon::{Setup, Site},
    paths,
};

/// What such a daemon's configuration adds to what all of them have. Each text is TOML; `@ROOT@` in it stands for the site's folder,
/// `@HTTP@` and `@GEARMAN@` for its ports.
#[derive(Clone, Copy, Debug)]
pub struct PoolSetup<'a> {
    /// The cloud's driver: its engine, and the name of its library.
    pub cloud: &'a str,
    /// The cloud's `extra_params`.
    pub extra_params: &'a str,
    /// Keys of `[pool]` behind driver, image and size.
    pub pool: &'a str,
    /// More keys of `[http]`, and tables below it.
    pub http: &'a str,
    /// More keys of `[gearman]`, and tables below it.
    pub gearman: &'a str,
    /// More tables.
    pub more: &'a str,
}

impl PoolSetup<'_> {
    /// Of the dummy cloud.
    pub const DUMMY: Self = Self { cloud: "dummy", extra_params: "", pool: "", http: "", gearman: "", more: "" };
    /// Of the local cloud, with `extra_params` by [`local_cloud`].
    pub const LOCAL: Self = Self { cloud: "local", ..Self::DUMMY };

    /// A site of this configuration.
    pub fn site(self) -> Site {
        let site = Site::new(Setup::default());
        self.configure(&site);
        site
    }

    /// Writes this configuration for a site.
    pub fn configure(self, site: &Site) {
        let Self { cloud, extra_params, pool, http, gearman, more } = self;
        let (image, size) = match cloud {
            "local" => ("lb-node", "small"),
            _ => ("debian-12", "small"),
        };
        let text = format!(
            r#"[daemon]
roles = ["lbaas", "pool-manager"]
state_dir = "@ROOT@/state"
run_dir = "@ROOT@/run"

[http]
listen = ["127.0.0.1:@HTTP@"]
{http}

[gearman]
servers = ["embedded"]
embedded_listen = "127.0.0.1:@GEARMAN@"
reconnect_sleep_seconds = 1
{gearman}

[drivers]
directory = "{directory}"
trust_own_files = true

[known_drivers.mgm.local]
library = "libcapstan_mgm_local.so"
[known_drivers.mgm.local.config]
socket = "@ROOT@/run/capstan.sock"
token = {{ file = "@ROOT@/run/device.token" }}

[known_drivers.cloud.{cloud}]
library = "libcapstan_cloud_{cloud}.so"

[cloud_farm.default]
engine = "{cloud}"
[cloud_farm.default.extra_params]
{extra_params}

[pool]
driver = "local"
image = "{image}"
size = "{size}"
{pool}

{more}
"#,
            directory = paths::build().display(),
        );
        let ports = [("@HTTP@", site.http_port), ("@GEARMAN@", site.job_server_port)];
        site.configure(&ports.iter().fold(text, |text, (name, port)| text.replace(name, &port.to_string())));
    }
}

/// `extra_params` of a local cloud that runs the shipped images; its nodes are workers that ask the site's job server. Both ranges are
/// CIDR within 127.0.0.0/8.
pub fn local_cloud(addresses: &str, floating: &str) -> String {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("config/images");
    format!(
        r#"directory = "@ROOT@/local"
images = "{images}"
addresses = "{addresses}"
floating = {{ addresses = "{floating}" }}
variables = {{ GEARMAN_SERVERS = '["127.0.0.1:@GEARMAN@"]', TRUST_OWN_FILES = "true" }}"#,
        images = images.display(),
    )
}
