//! Capstan driver: load-balancer-noop.
