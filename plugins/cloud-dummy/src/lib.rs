//! Capstan driver: cloud-dummy.
