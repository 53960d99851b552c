//! How single values are read and shown.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::Value as Json;

use super::tree::{Node, Value};
use crate::config::Origin;

/// Why a value was not taken.
pub(in crate::config) struct Refusal {
    pub(in crate::config) found: String,
    pub(in crate::config) expected: String,
    pub(in crate::config) remedy: String,
    /// The line of the element of a list, when it is not the value as a whole.
    pub(in crate::config) origin: Option<Origin>,
}

impl Refusal {
    pub(in crate::config) fn new(node: &Node, expected: &str, remedy: &str) -> Self {
        Self { found: node.describe(), expected: expected.to_owned(), remedy: remedy.to_owned(), origin: None }
    }
}

/// A value as `config show` prints it.
pub(in crate::config) trait Shown {
    fn shown(&self) -> Json;
}

/// A value that can stand behind a key.
pub(in crate::config) trait Field: Shown + Sized {
    fn parse(node: &Node) -> Result<Self, Refusal>;
}

impl Shown for bool {
    fn shown(&self) -> Json {
        Json::Bool(*self)
    }
}

impl Field for bool {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        match node.value {
            Value::Boolean(value) => Ok(value),
            Value::Text(_) => Err(Refusal::new(node, "true or false", "write it without quotes")),
            _ => Err(Refusal::new(node, "true or false", "write one of the two")),
        }
    }
}

impl Shown for String {
    fn shown(&self) -> Json {
        Json::String(self.clone())
    }
}

impl Field for String {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        match (&node.value, &node.raw) {
            (Value::Text(text), _) => Ok(text.clone()),
            (Value::Array(_) | Value::Table(_), _) | (_, None) => {
                Err(Refusal::new(node, "a text", "write it in double quotes"))
            }
            // `CAPSTAN_WORKER__FUNCTION=7` parses as a number but means the text.
            (_, Some(raw)) => Ok(raw.clone()),
        }
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> Json {
        Json::String(self.display().to_string())
    }
}

impl Field for PathBuf {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        match String::parse(node)?.as_str() {
            "" => Err(Refusal::new(node, "a path", "name a file or folder, or remove the key")),
            path => Ok(node.origin.absolute(path.as_ref())),
        }
    }
}

impl Shown for SocketAddr {
    fn shown(&self) -> Json {
        Json::String(self.to_string())
    }
}

impl Field for SocketAddr {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        String::parse(node)?.parse().map_err(|_| {
            Refusal::new(
                node,
                "an address and a port",
                "write it as \"127.0.0.1:8770\" or \"[::1]:8770\"; names are not looked up here",
            )
        })
    }
}

/// Durations are seconds, whole or with a fraction, and longer than nothing.
impl Shown for Duration {
    fn shown(&self) -> Json {
        if self.subsec_nanos() == 0 { self.as_secs().into() } else { self.as_secs_f64().into() }
    }
}

impl Field for Duration {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        let seconds = match node.value {
            #[allow(clippy::cast_precision_loss)] // beyond 2^53 the limit below refuses it anyway
            Value::Integer(seconds) => seconds as f64,
            Value::Float(seconds) => seconds,
            _ => return Err(Refusal::new(node, "a number of seconds", "write the number without quotes or unit")),
        };
        duration(seconds)
            .ok_or_else(|| Refusal::new(node, "a number of seconds above 0 and within a year", "correct the number"))
    }
}

/// A time that a configuration may hold. Less than half a nanosecond would be nothing, which could not be read again.
pub(in crate::config) fn duration(seconds: f64) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(366 * 86400);
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero() && *duration <= LONGEST)
}

macro_rules! whole_numbers {
    ($($type:ty)*) => { $(
        impl Shown for $type {
            fn shown(&self) -> Json {
                (*self).into()
            }
        }

        impl Field for $type {
            fn parse(node: &Node) -> Result<Self, Refusal> {
                let range = || Refusal::new(node, &format!("a whole number from 0 to {}", Self::MAX), "correct the number");
                match node.value {
                    Value::Huge(_) => Err(range()),
                    Value::Integer(value) => Self::try_from(value).map_err(|_| range()),
                    Value::Text(_) => Err(Refusal::new(node, "a whole number", "write it without quotes")),
                    Value::Float(_) => Err(Refusal::new(node, "a whole number", "write it without a fraction")),
                    _ => Err(Refusal::new(node, "a whole number", "write one number")),
                }
            }
        }
    )* };
}

whole_numbers!(u32 u64 usize);

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> Json {
        self.iter().map(Shown::shown).collect()
    }
}

impl<T: Field> Field for Vec<T> {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        let Value::Array(items) = &node.value else {
            return Err(Refusal::new(node, "a list", "write it in square brackets, as in [\"...\"]"));
        };
        items
            .iter()
            .map(|item| {
                T::parse(item)
                    .map_err(|refusal| Refusal { origin: refusal.origin.or(Some(item.origin.clone())), ..refusal })
            })
            .collect()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> Json {
        self.as_ref().map_or(Json::Null, Shown::shown)
    }
}

impl<T: Field> Field for Option<T> {
    fn parse(node: &Node) -> Result<Self, Refusal> {
        T::parse(node).map(Some)
    }
}

/// An enum of which each value has one name in the file.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $name {
            /// Every value, in the order of the manual.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in the file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The value of this name in the file.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl $crate::config::read::Shown for $name {
            fn shown(&self) -> serde_json::Value {
                self.as_str().into()
            }
        }

        impl $crate::config::read::Field for $name {
            fn parse(node: &$crate::config::read::Node) -> Result<Self, $crate::config::read::Refusal> {
                let text = <String as $crate::config::read::Field>::parse(node)?;
                Self::from_name(&text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|value| format!("{:?}", value.as_str())).collect();
                    let near = $crate::config::read::nearest(&text, Self::ALL.iter().map(|value| value.as_str()));
                    let remedy = near.map_or_else(|| "choose one".to_owned(), |near| format!("did you mean {near:?}?"));
                    $crate::config::read::Refusal::new(node, &names.join(" or "), &remedy)
                })
            }
        }
    };
}
pub(in crate::config) use choices;
