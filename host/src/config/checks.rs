//! What can only be said of several values together.

use std::net::SocketAddr;

use super::{
    Config, DriverPolicy, KnownDriver, Origin, Warning,
    read::{Session, nearest},
    sections::{DEFAULT_STOCK, DriverKind, Role},
};

/// Checks between sections.
pub(super) fn across(config: &Config, session: &mut Session<'_>) {
    listeners(config, session);
    worker_driver(config, session);
    pool(config, session);
    engines(config, session);
    policy(config, session);
    issued(config, session);
}

/// No two listeners on one port. Port 0 asks for any free one and never collides.
fn listeners(config: &Config, session: &mut Session<'_>) {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let http = config.http.listen.iter().filter(|_| config.http.enabled).map(|address| ("http.listen", *address));
    let embedded = config.gearman.is_embedded().then_some(("gearman.embedded_listen", config.gearman.embedded_listen));
    for (key, address) in http.chain(embedded) {
        let clash = |other: &SocketAddr| {
            let overlap = other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
            address.port() != 0 && other.port() == address.port() && overlap
        };
        if let Some((by, other)) = taken.iter().find(|(_, other)| clash(other)) {
            let expected = format!("a port of its own, for {by} has {other} ({})", session.origin(by));
            let origin = stated(session, &[key, by]);
            session.fault(origin, key, &address.to_string(), &expected, "choose another port");
        }
        taken.push((key, address));
    }
}

/// Where the first of these keys that is not at its default stands: a default clashes with something that somebody wrote.
fn stated(session: &Session<'_>, keys: &[&str]) -> Origin {
    keys.iter().map(|key| session.origin(key)).find(|origin| *origin != Origin::Default).unwrap_or(Origin::Default)
}

/// A certificate of the daemon's own authority is only to be had where there is one.
fn issued(config: &Config, session: &mut Session<'_>) {
    if config.has_authority() {
        return;
    }
    let http = config.http.tls.as_ref().map(|tls| ("http.tls.names", &tls.identity));
    let embedded = config.gearman.embedded_tls.as_ref().map(|tls| ("gearman.embedded_tls.names", &tls.identity));
    for (key, _) in http.into_iter().chain(embedded).filter(|(_, identity)| !identity.names().is_empty()) {
        let expected = "the role lbaas or pool-manager, whose daemon has an authority of its own";
        session.fault_at(key, "names without such a role", expected, "name cert and key instead, or add the role");
    }
}

fn worker_driver(config: &Config, session: &mut Session<'_>) {
    let kind = DriverKind::LoadBalancer;
    if !config.daemon.roles.contains(&Role::Worker) || config.known_drivers.get(kind, &config.worker.driver).is_some() {
        return;
    }
    let origin = stated(session, &["worker.driver", "daemon.roles"]);
    unknown_driver(origin, "worker.driver", &config.worker.driver, kind, config, session);
}

/// What the pool manager needs, if it is to run: everything that is missing is told at once, as libra did.
fn pool(config: &Config, session: &mut Session<'_>) {
    if !config.daemon.roles.contains(&Role::PoolManager) {
        return;
    }
    if config.known_drivers.get(DriverKind::Mgm, &config.pool.driver).is_none() {
        let origin = stated(session, &["pool.driver", "daemon.roles"]);
        unknown_driver(origin, "pool.driver", &config.pool.driver, DriverKind::Mgm, config, session);
    }
    let is_named = config.pool.stocks.iter().any(|stock| stock.name != DEFAULT_STOCK);
    for stock in &config.pool.stocks {
        let path = if is_named { format!("pool.stocks.{}", stock.name) } else { "pool".to_owned() };
        for (key, value) in [("image", &stock.image), ("size", &stock.size)] {
            if value.is_empty() {
                let key = format!("{path}.{key}");
                let of_table = || session.origin_of_table(&path).unwrap_or_else(|| session.origin("daemon.roles"));
                let origin = Some(session.origin(&key)).filter(|at| *at != Origin::Default).unwrap_or_else(of_table);
                session.fault(origin, &key, "nothing", "the id or the name that the cloud knows", "add it");
            }
        }
        if config.cloud_farm.get(Some(&stock.cloud)).is_none() {
            let key = format!("{path}.cloud");
            let names: Vec<&str> = config.cloud_farm.iter().map(|cloud| cloud.name.as_str()).collect();
            let expected = format!("a cloud under cloud_farm ({})", names.join(", "));
            let remedy = nearest(&stock.cloud, names.iter().copied()).map_or_else(
                || format!("add [cloud_farm.{}] or choose another", stock.cloud),
                |near| format!("did you mean \"{near}\"?"),
            );
            session.fault(
                session.origin(&key),
                &key,
                &format!("the unknown cloud \"{}\"", stock.cloud),
                &expected,
                &remedy,
            );
        }
    }
}

fn engines(config: &Config, session: &mut Session<'_>) {
    for cloud in config.cloud_farm.iter() {
        if config.known_drivers.get(DriverKind::Cloud, &cloud.engine).is_none() {
            let key = format!("cloud_farm.{}.engine", cloud.name);
            unknown_driver(session.origin(&key), &key, &cloud.engine, DriverKind::Cloud, config, session);
        }
    }
}

/// A policy that nothing can meet is a fault; an entry that alone cannot meet it costs itself when it is loaded.
fn policy(config: &Config, session: &mut Session<'_>) {
    let (meets, lack): (fn(&KnownDriver) -> bool, _) = match config.drivers.policy {
        DriverPolicy::Any => return,
        DriverPolicy::Pinned => (
            |driver| driver.sha256.is_some() || driver.trust.locked.is_some(),
            "\"pinned\" and nothing pins its file; add sha256, or run capstan driver lock",
        ),
        DriverPolicy::Signed => (
            |driver| !driver.trust.signature_keys.is_empty(),
            "\"signed\" and there is no key for its file; add signature_key",
        ),
    };
    let none = config.known_drivers.iter().next().is_some() && !config.known_drivers.iter().any(meets);
    if none && config.drivers.policy == DriverPolicy::Signed {
        session.fault_at(
            "drivers.policy",
            "\"signed\" without any key",
            "the public keys of those whose files are trusted",
            "add drivers.signature_keys = [\"FILE\"]",
        );
        return;
    }
    for driver in config.known_drivers.iter().filter(|driver| !meets(driver)) {
        let text = format!("will not load: drivers.policy is {lack}");
        session.warnings.push(Warning { origin: driver.origin.0.clone(), key: driver.key(), text });
    }
}

fn unknown_driver(origin: Origin, key: &str, name: &str, kind: DriverKind, config: &Config, session: &mut Session<'_>) {
    let names = config.known_drivers.names(kind);
    let known =
        if names.is_empty() { "none is known yet".to_owned() } else { format!("known are {}", names.join(", ")) };
    let expected = format!("a name under known_drivers.{kind} ({known})");
    let remedy = nearest(name, names).map_or_else(
        || format!("add [known_drivers.{kind}.{name}] or choose another"),
        |near| format!("did you mean \"{near}\"?"),
    );
    session.fault(origin, key, &format!("the unknown driver \"{name}\""), &expected, &remedy);
}
