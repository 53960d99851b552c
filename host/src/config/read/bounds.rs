//! Values of limits: sizes with units, bounds that may be off, ports.

use serde_json::Value as Json;

use super::{
    field::{Field, Refusal, Shown},
    tree::{Node, Value},
};

/// Bytes: a number, or a text with one of the units below, as in `"256MiB"`.
pub(in crate::config) struct Size(pub(in crate::config) u64);

/// The largest first: a size is shown in the largest that divides it.
const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl Size {
    fn from_text(text: &str) -> Option<u64> {
        let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
        let number: u64 = digits.parse().ok()?;
        let unit = text.get(digits.len()..)?.trim_start();
        let (_, shift) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(1 << shift)
    }
}

impl Shown for Size {
    fn shown(&self) -> Json {
        let unit = UNITS.into_iter().find(|(_, shift)| self.0 != 0 && self.0.is_multiple_of(1 << shift));
        unit.map_or_else(|| self.0.into(), |(name, shift)| format!("{}{name}", self.0 >> shift).into())
    }
}

impl Field for Size {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        let size = match &node.value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok(),
            Value::Text(text) => Self::from_text(text),
            _ => None,
        };
        size.map(Self).ok_or_else(|| {
            let expected = "a size such as \"256MiB\"";
            Refusal::new(node, expected, "write a whole number with KiB, MiB, GiB or TiB behind it, in quotes")
        })
    }
}

/// A limit that `"unlimited"` turns off.
pub(in crate::config) struct Bound<T>(pub(in crate::config) Option<T>);

impl<T: Shown> Shown for Bound<T> {
    fn shown(&self) -> Json {
        self.0.as_ref().map_or_else(|| "unlimited".into(), Shown::shown)
    }
}

impl<T: Field> Field for Bound<T> {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        if matches!(&node.value, Value::Text(text) if text == "unlimited") {
            return Ok(Self(None));
        }
        let value = T::parse(node)
            .map_err(|refusal| Refusal { expected: format!("{}, or \"unlimited\"", refusal.expected), ..refusal })?;
        Ok(Self(Some(value)))
    }
}

/// A TCP port that something listens on.
pub(in crate::config) struct Port(pub(in crate::config) u16);

impl Shown for Port {
    fn shown(&self) -> Json {
        self.0.into()
    }
}

impl Field for Port {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        let remedy = match node.value {
            Value::Text(_) => "write the number alone: the kernel's rules know no hosts",
            _ => "correct the number",
        };
        let port = match node.value {
            Value::Integer(port) => u16::try_from(port).ok().filter(|port| *port != 0),
            _ => None,
        };
        port.map(Self).ok_or_else(|| Refusal::new(node, "a port from 1 to 65535", remedy))
    }
}
