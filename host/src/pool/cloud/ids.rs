//! What the names of images and sizes stand for in a cloud, asked for once in a while.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use capstan_plugin_api::{
    DriverError,
    cloud::{Image, List, Page, Size},
};
use serde::de::DeserializeOwned;

use super::{Cloud, MOST_PAGES, PAGE};
use crate::drivers::CallOptions;

/// What an id is of, and its name in the configuration.
type Named = (&'static str, String);

/// Ids by what they are named, each with when it was learnt.
#[derive(Default)]
pub(super) struct Ids(Mutex<BTreeMap<Named, (String, Instant)>>);

impl Cloud {
    /// The id of an image that is named by its id or its name. An answer of the cloud counts for as long as `fresh` says.
    pub async fn image(&self, wanted: &str, fresh: Duration) -> Result<String, DriverError> {
        let all = |image: &Image| (image.id.clone(), image.name.clone());
        self.id("image", wanted, fresh, self.resolve("list_images", "image", wanted, all)).await
    }

    /// The id of a size that is named by its id or its name. An answer of the cloud counts for as long as `fresh` says.
    pub async fn size(&self, wanted: &str, fresh: Duration) -> Result<String, DriverError> {
        let all = |size: &Size| (size.id.clone(), size.name.clone());
        self.id("size", wanted, fresh, self.resolve("list_sizes", "size", wanted, all)).await
    }

    /// The cloud is asked again for each id.
    pub(in crate::pool) fn forget_ids(&self) {
        self.ids.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// An id that is known and fresh, or else what asking comes to.
    async fn id(
        &self,
        what: &'static str,
        wanted: &str,
        fresh: Duration,
        ask: impl Future<Output = Result<String, DriverError>>,
    ) -> Result<String, DriverError> {
        let key = (what, wanted.to_owned());
        let known = self.ids.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((id, _)) = known.filter(|(_, at)| at.elapsed() < fresh) {
            return Ok(id);
        }
        let id = ask.await?;
        self.ids.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (id.clone(), Instant::now()));
        Ok(id)
    }

    async fn resolve<T: DeserializeOwned>(
        &self,
        method: &str,
        what: &str,
        wanted: &str,
        of: impl Fn(&T) -> (String, String),
    ) -> Result<String, DriverError> {
        let mut named = Vec::new();
        let mut filter = List { limit: Some(PAGE), ..List::default() };
        for _ in 0..MOST_PAGES {
            let page: Page<T> = self.call(method, &filter, CallOptions::default()).await?;
            for (id, name) in page.items.iter().map(&of) {
                if id == wanted {
                    return Ok(id);
                }
                if name == wanted {
                    named.push(id);
                }
            }
            filter.cursor = page.next;
            if filter.cursor.is_none() {
                break;
            }
        }
        match named.as_slice() {
            [id] => Ok(id.clone()),
            [] => Err(DriverError::not_found(format!("the cloud {} has no {what} {wanted:?}", self.name))),
            several => Err(DriverError::conflict(format!(
                "the cloud {} has {} {what}s of the name {wanted:?} ({}); name one by its id",
                self.name,
                several.len(),
                several.join(", ")
            ))),
        }
    }
}
