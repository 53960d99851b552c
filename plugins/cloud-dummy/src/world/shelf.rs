//! Things by their number.

use std::collections::BTreeMap;

use capstan_plugin_api::{DriverError, ErrorCode};

/// Numbers begin at 1 and are not given twice.
pub(super) struct Shelf<T> {
    pub made: u64,
    pub items: BTreeMap<u64, T>,
}

impl<T> Shelf<T> {
    pub fn new() -> Self {
        Self { made: 0, items: BTreeMap::new() }
    }

    pub fn put(&mut self, number: u64, item: Option<T>) -> Option<T> {
        self.made = self.made.max(number);
        match item {
            Some(item) => self.items.insert(number, item),
            None => self.items.remove(&number),
        }
    }

    pub fn len(&self) -> u64 {
        self.items.len() as u64
    }
}

/// The number in an id, which is `prefix` and a number without leading zeros.
pub(super) fn number(prefix: &str, id: &str) -> Option<u64> {
    id.strip_prefix(prefix).filter(|number| !number.starts_with(['0', '+']))?.parse().ok()
}

/// Refuses one more (or `more`) where the quota is used up.
pub(super) fn within(quota: &str, used: u64, more: u64, limit: Option<u64>) -> Result<(), DriverError> {
    match limit {
        Some(limit) if used.saturating_add(more) > limit => {
            let message = format!("the quota of {quota} is {limit}, of which {used} are used");
            Err(DriverError::new(ErrorCode::QUOTA_EXCEEDED, message))
        }
        _ => Ok(()),
    }
}
