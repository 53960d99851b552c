//! Addresses that are text: what percent signs stand for in them is UTF-8 without NUL, which the store's texts have not.

use axum::http::Uri;
use data_encoding::HEXLOWER_PERMISSIVE;

use super::Problem;

/// Refuses an address that is no text, before any route looks at its parts.
pub(super) fn check(uri: &Uri) -> Result<(), Problem> {
    if is_text(uri.path()) && uri.query().is_none_or(is_text) {
        return Ok(());
    }
    Err(Problem::bad_request(
        "the address, once its percent signs are read, is no text in UTF-8, or has the character NUL",
    ))
}

fn is_text(encoded: &str) -> bool {
    let mut parts = encoded.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()) {
            Some(byte) => {
                bytes.extend(byte);
                bytes.extend(part.get(2..).unwrap_or_default().as_bytes());
            }
            // It stands for itself.
            None => {
                bytes.push(b'%');
                bytes.extend(part.as_bytes());
            }
        }
    }
    !bytes.contains(&0) && std::str::from_utf8(&bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_text_without_nul() {
        for good in ["/", "/a%2Fb?c=%C3%A9", "/100%", "/%zz?%", "/%2500", "/a?b"] {
            assert!(check(&good.parse().unwrap()).is_ok(), "{good}");
        }
        for bad in ["/%00", "/a%ff", "/%c3%28", "/a?b=%00", "/a?%ff", "/a%c3?b"] {
            assert_eq!(check(&bad.parse().unwrap()).unwrap_err().status(), 400, "{bad}");
        }
    }
}
