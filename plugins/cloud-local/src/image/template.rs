//! Words between two `@` that are filled in.

use std::collections::BTreeMap;

/// The word that holds what must not be seen by others.
pub(crate) const USER_DATA: &str = "USER_DATA";

/// What each word stands for.
#[derive(Clone, Debug)]
pub(crate) struct Values(BTreeMap<String, String>);

/// Capitals, digits and `_`, a letter first.
pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

impl Values {
    /// Later values take the place of earlier ones.
    pub fn new<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Fills a text in one pass, so that what is filled in is not read again. `Err` names a word that nobody knows.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('@') {
            filled.push_str(before);
            match after.split_once('@').filter(|(name, _)| is_variable(name)) {
                Some((name, after)) => {
                    let known = || self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let value = self.0.get(name).ok_or_else(|| {
                        format!("@{name}@ stands for nothing; known are {}; see variables of the cloud", known())
                    })?;
                    filled.push_str(value);
                    rest = after;
                }
                None => {
                    filled.push('@');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// Whether the text gets user data.
pub(crate) fn is_private(text: &str) -> bool {
    text.contains(&format!("@{USER_DATA}@"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_once() {
        let values = Values::new([("NAME", "lb-1"), ("ADDRESS", "127.77.0.1"), (USER_DATA, "@NAME@ a@b")]);
        for (text, filled) in [
            ("", ""),
            ("@NAME@", "lb-1"),
            ("bind @ADDRESS@:80 @NAME@@NAME@", "bind 127.77.0.1:80 lb-1lb-1"),
            ("@USER_DATA@", "@NAME@ a@b"),
            ("mail a@b.org, c@d.org; @ @@ @name@ @", "mail a@b.org, c@d.org; @ @@ @name@ @"),
            ("a@@NAME@", "a@lb-1"),
        ] {
            assert_eq!(values.fill(text).as_deref(), Ok(filled), "{text}");
        }
        assert!(values.fill("@NAMES@").unwrap_err().contains("@NAMES@ stands for nothing; known are ADDRESS, NAME"));
        assert!(is_private("x @USER_DATA@") && !is_private("USER_DATA"));
    }
}
