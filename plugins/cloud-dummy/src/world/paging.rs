//! Pages of lists.

use capstan_plugin_api::{
    DriverError,
    cloud::{List, Page},
};

/// Where a page begins and how long it may be. A cursor is the number of the last entry given out, so that a list stays whole while
/// things come and go.
pub(super) struct Paging {
    pub(super) after: u64,
    limit: usize,
}

impl Paging {
    /// `most` entries at most, whatever is asked for.
    pub(super) fn of(request: &List, most: u32) -> Result<Self, DriverError> {
        let after = request.cursor.as_deref().map_or(Ok(0), str::parse).map_err(|_| {
            let shown: String = request.cursor.iter().flat_map(|cursor| cursor.chars()).take(100).collect();
            DriverError::invalid_argument(format!("{shown:?} is no cursor of this list"))
        })?;
        match request.limit {
            Some(0) => Err(DriverError::invalid_argument("a page has at least one entry")),
            limit => Ok(Self { after, limit: limit.unwrap_or(most).min(most) as usize }),
        }
    }

    /// One page of `entries`, whose numbers ascend.
    pub(super) fn page<K, T>(self, entries: impl Iterator<Item = (u64, K)>, view: impl Fn(u64, K) -> T) -> Page<T> {
        let mut entries = entries.filter(|(number, _)| *number > self.after).peekable();
        let mut items = Vec::new();
        let mut last = self.after;
        while items.len() < self.limit
            && let Some((number, entry)) = entries.next()
        {
            items.push(view(number, entry));
            last = number;
        }
        Page { items, next: entries.peek().map(|_| last.to_string()) }
    }
}

/// A page of few things that have a name and no tags; they are numbered from 1.
pub(crate) fn few<T>(
    request: &List,
    most: u32,
    all: impl Iterator<Item = (u64, T)>,
    name: impl Fn(&T) -> &str,
) -> Result<Page<T>, DriverError> {
    let matches =
        |item: &T| request.name.as_deref().is_none_or(|wanted| wanted == name(item)) && request.tags.is_empty();
    let paging = Paging::of(request, most)?;
    Ok(paging.page(all.filter(|(_, item)| matches(item)), |_, item| item))
}

/// Things in a fixed order, numbered.
pub(crate) fn numbered<T>(all: impl Iterator<Item = T>) -> impl Iterator<Item = (u64, T)> {
    (1..).zip(all)
}
