//! Tags, packed: a cloud may hold a million nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names and values, each followed by a NUL, in one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags(Box<str>);

const END: char = '\0';

impl Tags {
    /// `Err` names the tag that cannot be kept.
    pub fn of(tags: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some((name, _)) = tags.iter().find(|(name, value)| name.contains(END) || value.contains(END)) {
            return Err(format!("the tag {name:?} has a NUL, which this cloud does not keep"));
        }
        Ok(Self::pack(tags))
    }

    fn pack(tags: &BTreeMap<String, String>) -> Self {
        let length = tags.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut packed = String::with_capacity(length);
        for text in tags.iter().flat_map(|(name, value)| [name, value]) {
            packed.push_str(text);
            packed.push(END);
        }
        Self(packed.into_boxed_str())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.0.split_terminator(END);
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }

    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Carries all of `wanted`.
    pub fn carry(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted.iter().all(|(name, value)| self.iter().any(|tag| tag == (name.as_str(), value.as_str())))
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tags = BTreeMap::<String, String>::deserialize(deserializer)?;
        Self::of(&tags).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_back_as_they_were() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        for pairs in [&[][..], &[("", "")], &[("a", ""), ("b", "c\nd"), ("", "x")], &[("ключ", "значение")]]
        {
            let tags = Tags::of(&map(pairs)).unwrap();
            assert_eq!(tags.to_map(), map(pairs));
            let text = serde_json::to_string(&tags).unwrap();
            assert_eq!(serde_json::from_str::<Tags>(&text).unwrap(), tags, "{text}");
        }
        let tags = Tags::of(&map(&[("pool", "a"), ("job", "1")])).unwrap();
        assert!(tags.carry(&map(&[])) && tags.carry(&map(&[("job", "1"), ("pool", "a")])));
        assert!(!tags.carry(&map(&[("job", "a")])) && !tags.carry(&map(&[("pool", "a"), ("x", "")])));
        assert!(Tags::of(&map(&[("a\0b", "")])).is_err());
    }
}
