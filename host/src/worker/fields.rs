//! Values of a message: what is accepted, and the words in which the rest is refused.
//!
//! What could reach an appliance's configuration passes a closed alphabet here, whatever the driver checks again.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::message::{Object, kind};

/// A field that is there and not null.
pub(super) fn present<'a>(fields: &'a Object, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// A value as it may stand in a text: a string as it is, others as JSON; cut, and without control characters.
pub(super) fn quoted(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Array(_) | Value::Object(_) => return format!("({})", kind(value)),
        Value::Null => "null",
        Value::Bool(_) | Value::Number(_) => return value.to_string(),
    };
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST {
            out.push_str("...");
            break;
        }
        if c.is_control() || is_invisible(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// Line and paragraph separators and direction marks, which spoil a log as newlines do.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A whole number, also as text; a fraction of zero is whole.
pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            // Beyond 2^53 a float names no single whole number.
            #[allow(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
            (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
        }),
        Value::String(text) => text.trim_matches(' ').parse().ok(),
        _ => None,
    }
}

/// A whole number within a range of the driver's messages.
pub(super) fn bounded(name: &str, value: &Value, least: u32) -> Result<u32, String> {
    let number = integer(value).ok_or_else(|| format!("Non-integer '{name}' value: '{}'", quoted(value)))?;
    if number < i64::from(least) {
        return Err(format!("'{name}' {number} is below min of {least}"));
    }
    u32::try_from(number).map_err(|_| format!("'{name}' {number} exceeds max of {}", u32::MAX))
}

/// A TCP port.
pub(super) fn port(value: &Value) -> Result<u16, String> {
    let number = integer(value).ok_or_else(|| format!("Non-integer 'port' value: '{}'", quoted(value)))?;
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("'port' {number} is not within 1 and 65535")),
    }
}

/// A server's weight: 1 unless given, at most 256.
pub(super) fn weight(value: Option<&Value>) -> Result<u32, String> {
    let Some(value) = value else { return Ok(1) };
    let number = integer(value).ok_or_else(|| format!("Non-integer 'weight' value: '{}'", quoted(value)))?;
    match u32::try_from(number) {
        Ok(weight @ 1..=256) => Ok(weight),
        _ if number > 256 => Err(format!("Server 'weight' {number} exceeds max of 256")),
        _ => Err(format!("Server 'weight' {number} is below min of 1")),
    }
}

/// `TRUE` or `FALSE` in any case, or a boolean; false unless given.
pub(super) fn flag(name: &str, value: Option<&Value>) -> Result<bool, String> {
    match value {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.is_empty() || text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(format!("'{name}' is neither TRUE nor FALSE: '{}'", quoted(other))),
    }
}

/// An id: a number, or a text of 1 to 128 letters, digits, `.`, `_`, `:` and `-`, which is what every appliance takes as a name.
pub(super) fn identifier(value: &Value) -> Result<String, String> {
    match value {
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        Value::String(text)
            if (1..=128).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b)) =>
        {
            Ok(text.clone())
        }
        other => {
            Err(format!("Invalid id '{}': 1 to 128 letters, digits, '.', '_', ':' and '-' are accepted", quoted(other)))
        }
    }
}

/// A server's address: IPv4, IPv6 (also in brackets, which are taken off) or a host name of RFC 1123.
pub(super) fn address(value: &Value) -> Result<String, String> {
    let refuse = || format!("Invalid address '{}': an IPv4 or IPv6 address or a host name is accepted", quoted(value));
    let text = value.as_str().ok_or_else(refuse)?;
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = bracketed {
        return inner.parse::<Ipv6Addr>().map(|_| inner.to_owned()).map_err(|_| refuse());
    }
    if text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() || is_host_name(text) {
        return Ok(text.to_owned());
    }
    Err(refuse())
}

/// RFC 1123, section 2.1: labels of letters, digits and inner hyphens. A last label of digits only would be read as an address.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253
        && text.split('.').all(is_label)
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

/// The path that a monitor asks for: `/` unless given, a leading slash is added. Printable ASCII without what a configuration
/// file gives a meaning: spaces, quotes, backslash and `#`.
pub(super) fn path(value: Option<&Value>) -> Result<String, String> {
    const LONGEST: usize = 1024;
    let Some(value) = value else { return Ok("/".to_owned()) };
    let refuse = || {
        format!(
            "Invalid monitor path '{}': up to {LONGEST} printable ASCII characters without spaces, quotes, '\\' and '#' are accepted",
            quoted(value)
        )
    };
    let text = value.as_str().ok_or_else(refuse)?;
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"\"'`\\#".contains(&b);
    if text.len() > LONGEST || !text.bytes().all(is_plain) {
        return Err(refuse());
    }
    Ok(if text.starts_with('/') { text.to_owned() } else { format!("/{text}") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses() {
        for (given, kept) in [
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("web-1.example.org", "web-1.example.org"),
            ("3com", "3com"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(address(&json!(given)).as_deref(), Ok(kept), "{given}");
        }
        let long = format!("{}.org", "a".repeat(64));
        for given in [
            "",
            " ",
            "10.0.0.256",
            "0177.0.0.1",
            "1.2.3",
            "10.0.0.1:80",
            "10.0.0.1 ",
            "10.0.0.1\n",
            "a\0b",
            "a#b",
            "a b",
            "a_b",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "[10.0.0.1]",
            "[::1",
            "fe80::1%eth0",
            "ümlaut",
            "a\u{85}b",
            &long,
        ] {
            assert!(address(&json!(given)).is_err(), "{given:?}");
        }
        assert!(address(&json!(7)).is_err());
    }

    #[test]
    fn numbers_come_as_numbers_and_as_text() {
        for value in [json!(80), json!("80"), json!(" 80 "), json!("+80"), json!(80.0)] {
            assert_eq!(port(&value), Ok(80), "{value}");
        }
        for value in [
            json!(0),
            json!(65536),
            json!(-1),
            json!(""),
            json!("80\n"),
            json!(80.5),
            json!(true),
            json!([80]),
            json!(1e300),
        ] {
            assert!(port(&value).is_err(), "{value}");
        }
        assert_eq!(weight(Some(&json!("256"))), Ok(256));
        assert_eq!(weight(Some(&json!(257))), Err("Server 'weight' 257 exceeds max of 256".into()));
        assert_eq!(weight(Some(&json!("x"))), Err("Non-integer 'weight' value: 'x'".into()));
        assert_eq!(weight(Some(&json!(0))), Err("Server 'weight' 0 is below min of 1".into()));
    }

    #[test]
    fn paths_have_a_closed_alphabet() {
        assert_eq!(path(Some(&json!("health?a=b&c=%20"))).as_deref(), Ok("/health?a=b&c=%20"));
        assert_eq!(path(Some(&json!(""))).as_deref(), Ok("/"));
        for given in ["/a b", "/a\n", "/a\rb", "/a\0", "/#", "/\"", "/'", "/\\", "/é", "/\u{7f}", "/\u{85}"] {
            assert!(path(Some(&json!(given))).is_err(), "{given:?}");
        }
    }

    #[test]
    fn quoted_text_is_one_short_line() {
        let text = quoted(&json!(format!("a\nb\u{2028}{}", "x".repeat(500))));
        assert!(text.starts_with("a\\u{a}b\\u{2028}xxx") && text.len() < 200, "{text}");
    }
}
