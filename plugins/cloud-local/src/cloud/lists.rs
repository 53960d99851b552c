//! Pages of lists.

use capstan_plugin_api::{
    DriverError,
    cloud::{List, Page},
};

/// Most entries of a page, whatever is asked for.
const MOST: usize = 1000;

/// One page of entries that are in the order of their ids. The cursor is the last id given out, so a list stays whole while things come
/// and go. What has no name is not found by one, and tags are looked at by whoever has them.
pub(super) fn page<T>(
    request: &List,
    entries: Vec<T>,
    id: impl Fn(&T) -> &str,
    name: impl Fn(&T) -> Option<&str>,
) -> Result<Page<T>, DriverError> {
    if request.limit == Some(0) {
        return Err(DriverError::invalid_argument("a page has at least one entry"));
    }
    let most = request.limit.map_or(MOST, |limit| (limit as usize).min(MOST));
    let is_after = |entry: &T| request.cursor.as_deref().is_none_or(|cursor| id(entry) > cursor);
    let is_named = |entry: &T| request.name.as_deref().is_none_or(|wanted| name(entry) == Some(wanted));
    let mut items: Vec<T> = entries.into_iter().filter(|entry| is_after(entry) && is_named(entry)).collect();
    let is_last = items.len() <= most;
    items.truncate(most);
    let next = items.last().filter(|_| !is_last).map(|last| id(last).to_owned());
    Ok(Page { items, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_make_a_whole() {
        let all = || ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let ask = |cursor: Option<String>| {
            let request = List { cursor, limit: Some(2), ..List::default() };
            page(&request, all(), |entry| entry, |entry| Some(entry)).unwrap()
        };
        let first = ask(None);
        let second = ask(first.next.clone());
        let third = ask(second.next.clone());
        assert_eq!([first.items, second.items, third.items].concat(), all());
        assert_eq!(third.next, None);
        let named = List { name: Some("c".into()), ..List::default() };
        assert_eq!(page(&named, all(), |entry| entry, |entry| Some(entry)).unwrap().items, ["c"]);
        assert!(page(&List { limit: Some(0), ..List::default() }, all(), |entry| entry, |_| None).is_err());
    }
}
