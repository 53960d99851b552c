//! Capstan driver: load-balancer-haproxy.
