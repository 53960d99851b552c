//! What `capstan config check` says of the cloud's keys before anything is opened.

use std::fs;

use capstan_tests::daemon::{Setup, Site};

#[test]
fn a_range_that_none_can_be_is_found_before_the_cloud_is_opened() {
    let entry = |settings: &str| {
        format!(
            "[known_drivers.cloud.local]\nlibrary = \"libcapstan_cloud_local.so\"\n\
             [cloud_farm.default]\nengine = \"local\"\n[cloud_farm.default.extra_params]\n{settings}\n"
        )
    };
    let more = entry("addresses = \"127.90.0.0/16\"");
    let site = Site::new(Setup { more: &more, ..Setup::default() });
    let text = fs::read_to_string(site.config()).unwrap();
    let with = |settings: &str| site.configure(&text.replace("addresses = \"127.90.0.0/16\"", settings));
    for good in
        ["addresses = \"127.0.0.0/8\"", "addresses = \"127.1.2.252/30\"", "floating.addresses = \"127.9.0.0/20\""]
    {
        with(good);
        site.expect(0, &["config", "check"]);
    }
    for private in ["10.0.0.0/8", "172.16.0.0/12", "172.31.255.0/24", "192.168.0.0/16", "192.168.7.8/30"] {
        with(&format!("network_namespaces = true\naddresses = \"{private}\""));
        site.expect(0, &["config", "check"]);
    }
    for wrong in [
        "",
        "127.90.0.0",
        "127.90.0/16",
        "127.90.0.256/24",
        "127.90.0.01/24",
        "127.90.0.0/x",
        "127.0.0.0/7",
        "127.90.0.0/31",
        "127.90.0.1/32",
        "128.0.0.0/16",
        "172.32.0.0/16",
        "192.168.0.0/15",
        "fd00::/64",
    ] {
        with(&format!("addresses = \"{wrong}\""));
        let told = site.expect(64, &["config", "check"]).error;
        let line =
            told.lines().find(|line| line.contains("extra_params.addresses")).unwrap_or_else(|| panic!("{told}"));
        assert!(line.contains(&format!("\"{wrong}\"")), "{told}");
        assert!(told.contains("a part of 127.0.0.0/8 such as \"127.77.0.0/16\""), "{told}");
    }
    // Floating addresses are of this machine alone.
    with("network_namespaces = true\nfloating.addresses = \"10.9.0.0/16\"");
    let told = site.expect(64, &["config", "check"]).error;
    assert!(told.contains("floating.addresses") && !told.contains("private"), "{told}");
}
