//! The shipped example comes up on a machine that has nothing of it.

use std::{fs, path::Path};

use capstan_tests::{
    daemon::{Setup, Site},
    paths, wait_for,
};

use crate::support::{LONG, ranges};

#[test]
fn the_example_of_a_local_cloud_comes_up_on_a_fresh_machine() {
    let site = Site::new(Setup::default());
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").canonicalize().unwrap();
    let example = fs::read_to_string(config.join("examples/local-cloud.toml")).unwrap();
    let (addresses, floating) = ranges();
    let (http, gearman) = (site.http_port, site.job_server_port);
    let (images, directory) = (config.join("images").display().to_string(), paths::build().display().to_string());
    // The same file elsewhere: other folders, ports and addresses, and drivers that are not root's.
    let moved = [
        ("[daemon]", "[daemon]\nstate_dir = \"@ROOT@/state\"\nrun_dir = \"@ROOT@/run\""),
        ("/var/lib/capstan", "@ROOT@/state"),
        ("/etc/capstan/images", &images),
        ("127.0.0.1:4730", &format!("127.0.0.1:{gearman}")),
        ("127.77.0.0/16", &addresses),
        ("127.78.0.0/16", &floating),
        ("variables = {", "variables = { TRUST_OWN_FILES = \"true\","),
    ]
    .into_iter()
    .fold(example, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the example");
        text.replace(from, to)
    });
    site.configure(&format!(
        "{moved}check_interval_seconds = 0.5\npoll_interval_seconds = 0.2\n\
         [http]\nlisten = [\"127.0.0.1:{http}\"]\n\
         [drivers]\ndirectory = \"{directory}\"\ntrust_own_files = true\n\
         [known_drivers.mgm.local.config]\nsocket = \"@ROOT@/run/capstan.sock\"\n\
         token = {{ file = \"@ROOT@/run/device.token\" }}\n"
    ));
    assert!(!site.path().join("state").exists());

    let daemon = site.start();
    wait_for("two nodes in stock", LONG, || {
        let all = site.expect(0, &["pool", "nodes", "--state", "ready", "--output", "json"]).json();
        (all["nodes"].as_array().map(Vec::len) == Some(2)).then_some(())
    });
    assert!(!site.log().contains("not enforced: sandbox.write"), "{}", site.log());

    // The driver's entry is named as the manual does it, and its one instance is meant.
    let images = site.expect(0, &["driver", "call", "cloud.local", "list_images", "--trust-own-files"]);
    assert!(images.out.contains("lb-node"), "{images:?}");
    let several = site.expect(64, &["driver", "call", "local", "list_images"]);
    assert!(several.error.contains("write one of cloud.local, mgm.local"), "{several:?}");
    assert!(site.expect(0, &["driver", "info", "cloud.local"]).out.contains("in the daemon"));
    assert!(site.expect(0, &["driver", "restart", "cloud.local"]).out.starts_with("cloud.local@default restarted"));
    let several = site.expect(64, &["driver", "restart", "local"]);
    assert!(several.error.contains("cloud.local@default") && several.error.contains("mgm.local"), "{several:?}");

    site.expect(0, &["pool", "pause"]);
    let all = site.expect(0, &["pool", "nodes", "--output", "json"]).json();
    for node in all["nodes"].as_array().unwrap() {
        site.expect(0, &["pool", "retire", node["id"].as_str().unwrap()]);
    }
    wait_for("the nodes to be gone", LONG, || {
        let all = site.expect(0, &["pool", "nodes", "--output", "json"]).json();
        all["nodes"].as_array().unwrap().is_empty().then_some(())
    });
    daemon.stop();
}
