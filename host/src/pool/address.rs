//! Which of its addresses a node is reached at.

use std::net::IpAddr;

use capstan_plugin_api::cloud::Node;

/// The first address outside 10.0.0.0/8, else the last one: libra's rule in all its generations.
pub(super) fn of(node: &Node) -> Option<IpAddr> {
    let all = || node.public_ips.iter().chain(&node.private_ips);
    let is_outside = |address: &&IpAddr| !matches!(address, IpAddr::V4(address) if address.octets()[0] == 10);
    all().find(is_outside).or_else(|| all().last()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(public: &[&str], private: &[&str]) -> Node {
        let parse = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect();
        Node { public_ips: parse(public), private_ips: parse(private), ..Node::default() }
    }

    #[test]
    fn p14_an_address_outside_ten_is_taken_before_the_last() {
        let of = |public: &[&str], private: &[&str]| of(&node(public, private)).map(|address| address.to_string());
        assert_eq!(of(&[], &["10.0.0.5", "15.1.2.3"]).as_deref(), Some("15.1.2.3"));
        assert_eq!(of(&[], &["10.0.0.5"]).as_deref(), Some("10.0.0.5"));
        assert_eq!(of(&[], &["10.0.0.5", "10.0.0.6"]).as_deref(), Some("10.0.0.6"));
        assert_eq!(of(&["10.0.0.7", "127.0.1.4"], &["10.0.0.5"]).as_deref(), Some("127.0.1.4"));
        assert_eq!(of(&["2001:db8::1"], &["10.0.0.5"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&[], &[]), None);
    }
}
