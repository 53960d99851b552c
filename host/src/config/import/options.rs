//! What becomes of each option of libra: a key of ours, or the reason why there is none.

/// The fate of one option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// `true` sets the log level to this one.
    Level(&'static str),
    /// A key of ours, and how the value is rewritten.
    Key(&'static str, Form),
    /// No counterpart, and why.
    None(&'static str),
}

/// How a value is rewritten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Boolean,
    Endpoints,
    Seconds,
    /// libra's name for the operating system's way to run services.
    Service,
    Text,
    Whole,
}

/// Options of the worker: section, option, fate. `""` as section stands for `[DEFAULT]`, `[global]` and `[worker]`, which all
/// hold the options that libra's programs share.
pub(super) const WORKER: &[(&str, &str, Fate)] = &[
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
];

/// Sections of libra's other programs, and where their settings will stand.
pub(super) const OTHER_PROGRAMS: &[(&str, &str)] = &[
    ("mgm", "the pool section and the cloud's entry in cloud_farm"),
    ("api", "the lbaas section"),
    ("admin_api", "the lbaas section"),
    ("keystone", "the authentication of listeners"),
    ("billing", "the lbaas section"),
    ("mnb", "the lbaas section"),
    ("statsd", "the lbaas section"),
    ("mysql", "the store section"),
];

/// The fate of an option of the worker; `None` for one that libra doesn't know.
pub(super) fn fate(section: &str, key: &str) -> Option<Fate> {
    let is_shared = matches!(section, "DEFAULT" | "global" | "worker");
    WORKER
        .iter()
        .find(|(in_section, name, _)| *name == key && (*in_section == section || (in_section.is_empty() && is_shared)))
        .map(|(.., fate)| *fate)
}

/// Where the settings of a section that belongs to another program will stand; `mysql1` and its like are numbered.
pub(super) fn other_program(section: &str) -> Option<&'static str> {
    let name = section.split(':').next().unwrap_or(section).trim_end_matches(|c: char| c.is_ascii_digit());
    OTHER_PROGRAMS.iter().find(|(program, _)| *program == name).map(|(_, home)| *home)
}
