//! What becomes of each option of libra: a key of ours, or the reason why there is none.

/// The fate of one option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// `true` sets the log level to this one.
    Level(&'static str),
    /// A key of ours, and how the value is rewritten.
    Key(&'static str, Form),
    /// As `Key`, and what is to be known about it.
    Noted(&'static str, Form, &'static str),
    /// No counterpart, and why.
    None(&'static str),
}

/// How a value is rewritten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// What nodes' names begin with.
    Basename,
    Boolean,
    /// A whole number between these two.
    Count(u32, u32),
    /// Not carried over: a reference to a file of this name, beside the configuration, stands in its place.
    Credential(&'static str),
    Endpoints,
    /// One text, where there may now be several.
    List,
    Minutes,
    Seconds,
    /// libra's name for the operating system's way to run services.
    Service,
    Text,
    Whole,
}

/// What the log has to say about libra's trust in servers.
const VERIFIED: &str =
    "libra verified no server's certificate, the driver does: set ca_file, and token if the API server asks for one";

/// Options of the worker and the pool manager: section, option, fate. `""` as section stands for `[DEFAULT]`, `[global]`, `[worker]`
/// and `[mgm]`, which all hold the options that libra's programs share.
pub(super) const OPTIONS: &[(&str, &str, Fate)] = &[
    ("", "config", Fate::None("the file is named on capstan's command line")),
    ("", "daemon", Fate::None("capstan stays in the foreground; systemd or another supervisor runs it")),
    ("", "nodaemon", Fate::None("capstan always stays in the foreground")),
    ("", "debug", Fate::Level("debug")),
    ("", "verbose", Fate::Level("info")),
    ("", "pid", Fate::None("the supervisor knows the process; no pid file is written")),
    ("", "logfile", Fate::None("the log goes to standard error, which the journal keeps")),
    ("", "log_file", Fate::None("the log goes to standard error, which the journal keeps")),
    ("", "log_dir", Fate::None("the log goes to standard error, which the journal keeps")),
    ("", "log_config", Fate::None("levels by target are set in telemetry.level")),
    ("", "log_format", Fate::None("telemetry.format chooses text or json")),
    ("", "log_date_format", Fate::None("times in the log are RFC 3339")),
    ("", "use_stderr", Fate::None("the log always goes to standard error")),
    ("", "use_syslog", Fate::None("the journal forwards to syslog where that is wanted")),
    ("", "syslog_log_facility", Fate::None("the journal forwards to syslog where that is wanted")),
    ("", "default_log_levels", Fate::None("levels by target are set in telemetry.level")),
    ("", "billing_enable", Fate::None("not part of the worker; usage is reported by the lbaas service")),
    ("", "notification_driver", Fate::None("not part of the worker; usage is reported by the lbaas service")),
    ("", "default_notification_level", Fate::None("not part of the worker; usage is reported by the lbaas service")),
    ("", "default_publisher_id", Fate::None("not part of the worker; usage is reported by the lbaas service")),
    ("", "host", Fate::None("not part of the worker; usage is reported by the lbaas service")),
    ("", "control_exchange", Fate::None("not part of the worker; usage is reported by the lbaas service")),
    ("", "kombu_ssl_version", Fate::None("not part of the worker; usage is reported by the lbaas service")),
    // Who may use HAProxy's statistics socket. The daemon's own identity is User= and Group= of its unit.
    ("", "user", Fate::Key("known_drivers.load_balancer.haproxy.config.stats_user", Form::Text)),
    ("", "group", Fate::Key("known_drivers.load_balancer.haproxy.config.stats_group", Form::Text)),
    ("worker", "driver", Fate::Key("worker.driver", Form::Text)),
    // The first generation named job servers and service in [worker] itself.
    ("worker", "server", Fate::Key("gearman.servers", Form::Endpoints)),
    ("worker", "servers", Fate::Key("gearman.servers", Form::Endpoints)),
    ("worker", "reconnect_sleep", Fate::Key("gearman.reconnect_sleep_seconds", Form::Seconds)),
    ("worker", "haproxy_service", Fate::Key("known_drivers.load_balancer.haproxy.config.service_name", Form::Service)),
    ("gearman", "servers", Fate::Key("gearman.servers", Form::Endpoints)),
    ("gearman", "keepalive", Fate::Key("gearman.keepalive", Form::Boolean)),
    ("gearman", "keepcnt", Fate::Key("gearman.keepcnt", Form::Whole)),
    ("gearman", "keepidle", Fate::Key("gearman.keepidle", Form::Seconds)),
    ("gearman", "keepintvl", Fate::Key("gearman.keepintvl", Form::Seconds)),
    ("gearman", "poll", Fate::None("the job server wakes an idle worker; nothing is polled")),
    ("gearman", "reconnect_sleep", Fate::Key("gearman.reconnect_sleep_seconds", Form::Seconds)),
    ("gearman", "ssl_ca", Fate::Key("gearman.ssl_ca", Form::Text)),
    ("gearman", "ssl_cert", Fate::Key("gearman.ssl_cert", Form::Text)),
    ("gearman", "ssl_key", Fate::Key("gearman.ssl_key", Form::Text)),
    ("worker:haproxy", "service", Fate::Key("known_drivers.load_balancer.haproxy.config.service_name", Form::Service)),
    ("worker:haproxy", "logfile", Fate::Key("known_drivers.load_balancer.haproxy.config.log_file", Form::Text)),
    ("worker:haproxy", "statsfile", Fate::None("counters not yet reported are kept under daemon.state_dir")),
    ("mgm", "driver", Fate::Key("pool.driver", Form::Text)),
    ("mgm", "nodes", Fate::Key("pool.nodes", Form::Count(0, 1_000_000))),
    ("mgm", "check_interval", Fate::Key("pool.check_interval_seconds", Form::Minutes)),
    // Renamed when building and submitting became two modules.
    ("mgm", "failed_interval", Fate::Key("pool.failed_interval_seconds", Form::Minutes)),
    ("mgm", "submit_interval", Fate::Key("pool.failed_interval_seconds", Form::Minutes)),
    ("mgm", "build_interval", Fate::Key("pool.check_interval_seconds", Form::Minutes)),
    ("mgm", "api_server", Fate::Noted("known_drivers.mgm.hp_rest.config.servers", Form::Endpoints, VERIFIED)),
    ("mgm", "az", Fate::Key("pool.az", Form::Count(0, u32::MAX))),
    ("mgm", "node_basename", Fate::Key("pool.node_basename", Form::Basename)),
    ("mgm", "nova_image", Fate::Key("pool.image", Form::Text)),
    ("mgm", "nova_image_size", Fate::Key("pool.size", Form::Text)),
    ("mgm", "nova_keyname", Fate::Key("pool.key_pair", Form::Text)),
    ("mgm", "nova_secgroup", Fate::Key("pool.security_groups", Form::List)),
    ("mgm", "nova_az_name", Fate::Key("pool.location", Form::Text)),
    ("mgm", "nova_net_id", Fate::Key("pool.networks", Form::List)),
    ("mgm", "nova_user", Fate::Key("cloud_farm.default.user", Form::Text)),
    ("mgm", "nova_pass", Fate::Key("cloud_farm.default.password", Form::Credential("nova-password"))),
    ("mgm", "nova_auth_url", Fate::Key("cloud_farm.default.extra_params.ex_force_auth_url", Form::Text)),
    ("mgm", "nova_region", Fate::Key("cloud_farm.default.extra_params.ex_force_service_region", Form::Text)),
    ("mgm", "nova_tenant", Fate::Key("cloud_farm.default.extra_params.ex_tenant_name", Form::Text)),
    ("mgm", "nova_tenant_id", Fate::Key("cloud_farm.default.extra_params.ex_tenant_id", Form::Text)),
    ("mgm", "nova_bypass_url", Fate::Key("cloud_farm.default.extra_params.ex_force_base_url", Form::Text)),
    ("mgm", "nova_insecure", Fate::Key("cloud_farm.default.extra_params.ex_insecure", Form::Boolean)),
    ("mgm", "rm_fip_ignore_500", Fate::Key("pool.remove_ip_ignores_errors", Form::Boolean)),
    ("mgm", "tcp_check_port", Fate::Key("pool.tcp_check_port", Form::Count(1, 65_535))),
    ("mgm", "threads", Fate::Key("pool.messages_at_once", Form::Count(1, 256))),
    (
        "mgm",
        "build_diag_timeout",
        Fate::Noted(
            "pool.diagnostics_timeout_seconds",
            Form::Seconds,
            "libra never read it and waited 10 seconds; here it counts",
        ),
    ),
    ("mgm", "datadir", Fate::None("failed nodes are rows of the store; daemon.state_dir says where that is")),
    ("mgm", "modules", Fate::None("both schedules run: pool.check_interval_seconds and pool.failed_interval_seconds")),
];

/// Options that libra's pool manager demanded, and what they are now.
pub(super) const DEMANDED: &[(&str, &str)] = &[
    ("nova_image", "pool.image"),
    ("nova_image_size", "pool.size"),
    ("nova_user", "cloud_farm.default.user"),
    ("nova_pass", "cloud_farm.default.password"),
    ("nova_auth_url", "cloud_farm.default.extra_params.ex_force_auth_url"),
    ("nova_region", "cloud_farm.default.extra_params.ex_force_service_region"),
    ("nova_keyname", "pool.key_pair"),
    ("nova_secgroup", "pool.security_groups"),
];

/// Options that only generations with a stock of their own had; the last one left that to its admin API.
pub(super) const STOCK: &[&str] =
    &["api_server", "nodes", "check_interval", "failed_interval", "submit_interval", "driver", "datadir", "modules"];

/// Sections of libra's other programs, and where their settings will stand.
pub(super) const OTHER_PROGRAMS: &[(&str, &str)] = &[
    ("api", "the lbaas section"),
    ("admin_api", "the lbaas section"),
    ("keystone", "the authentication of listeners"),
    ("billing", "the lbaas section"),
    ("mnb", "the lbaas section"),
    ("statsd", "the lbaas section"),
    ("mysql", "the store section"),
];

/// The fate of an option; `None` for one that libra's worker and pool manager don't know.
pub(super) fn fate(section: &str, key: &str) -> Option<Fate> {
    let is_shared = matches!(section, "DEFAULT" | "global" | "worker" | "mgm");
    OPTIONS
        .iter()
        .find(|(in_section, name, _)| *name == key && (*in_section == section || (in_section.is_empty() && is_shared)))
        .map(|(.., fate)| *fate)
}

/// Where the settings of a section that belongs to another program will stand; `mysql1` and its like are numbered.
pub(super) fn other_program(section: &str) -> Option<&'static str> {
    let name = section.split(':').next().unwrap_or(section).trim_end_matches(|c: char| c.is_ascii_digit());
    OTHER_PROGRAMS.iter().find(|(program, _)| *program == name).map(|(_, home)| *home)
}
