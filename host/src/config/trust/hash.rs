//! SHA-256 as it stands in the configuration and in the lock file.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::Value as Json;

use crate::config::read::{Field, Node, Refusal, Shown};

/// A SHA-256 in 64 hexadecimal digits.
#[derive(Clone, Copy)]
pub(in crate::config) struct Sha256(pub(in crate::config) [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Shown for Sha256 {
    fn shown(&self) -> Json {
        self.to_string().into()
    }
}

impl Field for Sha256 {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        let decoded = HEXLOWER_PERMISSIVE.decode(String::parse(node)?.as_bytes()).ok();
        let hash = decoded.and_then(|bytes| bytes.try_into().ok());
        let refusal = || Refusal::new(node, "a SHA-256 of 64 hexadecimal digits", "take it from sha256sum");
        hash.map(Self).ok_or_else(refusal)
    }
}
