//! `control = "systemd"` against a stand-in for systemctl: a script that does to a HAProxy of its own what the unit of
//! Debian's package does, `reload` by SIGUSR2 included. It is not systemd: units, cgroups and the journal are not tested here.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{Web, World, free_port, get, http, member};

const STAND_IN: &str = r#"#!/bin/sh
# A stand-in for systemctl.
here=PLACE
pid=$(/bin/cat "$here/pid" 2>/dev/null)
alive() { [ -n "$pid" ] && /bin/kill -0 "$pid" 2>/dev/null; }
for word in "$@"; do case $word in -*) ;; *) verb=${verb:-$word} ;; esac; done
echo "$*" >> "$here/calls"
case $verb in
is-active) alive ;;
start) alive || { /usr/bin/setsid /usr/sbin/haproxy -W -db -f "$here/haproxy.cfg" < /dev/null > "$here/out" 2>&1 & echo $! > "$here/pid"; } ;;
stop) alive || exit 0; /bin/kill -TERM "$pid"; while alive; do /bin/sleep 0.01; done ;;
reload) alive && /bin/kill -USR2 "$pid" ;;
*) exit 1 ;;
esac
"#;

/// Ends the stand-in's HAProxy even when the test fails.
struct Unit(std::path::PathBuf);

impl Drop for Unit {
    fn drop(&mut self) {
        let Ok(pid) = std::fs::read_to_string(self.0.join("pid")) else { return };
        let pid = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw).unwrap();
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[test]
fn a_unit_is_started_changed_reloaded_stopped_and_deleted() {
    let mut world = World::new();
    let place = world.place.path().to_owned();
    let _unit = Unit(place.clone());
    let systemctl = place.join("systemctl");
    std::fs::write(&systemctl, STAND_IN.replace("PLACE", place.to_str().unwrap())).unwrap();
    std::fs::set_permissions(&systemctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.config["control"] = json!("systemd");
    world.config["systemctl_path"] = json!(systemctl.to_str().unwrap());
    world.reopen();

    let [port, other] = [free_port(), free_port()];
    let [a, b] = ["a", "b"].map(Web::start);
    assert_eq!(world.apply(&http(port, &[member("a", &a)])), "start");
    assert_eq!(get(port).unwrap().body, "a");
    assert!(place.join("haproxy.cfg").exists(), "the unit's own configuration");
    assert_eq!(world.apply(&http(port, &[member("b", &b)])), "runtime");
    assert_eq!(get(port).unwrap().body, "b");
    assert_eq!(world.apply(&http(other, &[member("b", &b)])), "reload");
    assert_eq!(get(other).unwrap().body, "b");

    let mut second = world.request(&http(free_port(), &[]));
    second["device"] = json!("lb-2");
    let error = world.driver.call("apply", &second).unwrap_err();
    assert_eq!(error.message, "This machine's HAProxy service carries another device already.");

    assert_eq!(world.call("suspend").unwrap()["method"], "stop");
    assert!(get(other).is_err());
    assert_eq!(world.call("enable").unwrap()["method"], "start");
    assert_eq!(get(other).unwrap().body, "b");
    assert_eq!(world.call("delete").unwrap()["method"], "delete");
    assert!(get(other).is_err());
    assert!(!place.join("haproxy.cfg").exists());
    let calls = std::fs::read_to_string(place.join("calls")).unwrap();
    assert!(
        calls.contains("--no-ask-password reload haproxy") && calls.contains("is-active --quiet haproxy"),
        "{calls}"
    );
}
