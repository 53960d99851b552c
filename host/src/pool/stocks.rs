//! What a stock is asked for, and stopping and resuming what is built for it.

use super::{
    Pool,
    records::{ScheduleRecord, Spec, StockRecord},
    settings::Settings,
};
use crate::{config::Stock, store::Error};

impl Pool {
    /// What the cloud is to be asked for, with names resolved to ids.
    pub(super) async fn spec(&self, settings: &Settings, stock: &Stock) -> Result<Spec, String> {
        let (cloud, fresh) = (self.cloud(&stock.cloud)?, settings.reconcile_interval);
        Ok(Spec {
            image: cloud.image(&stock.image, fresh).await.map_err(|error| format!("pool: image: {error}"))?,
            image_name: stock.image.clone(),
            size: cloud.size(&stock.size, fresh).await.map_err(|error| format!("pool: size: {error}"))?,
            location: stock.location.clone(),
            key_pair: stock.key_pair.clone(),
            security_groups: stock.security_groups.clone(),
            networks: stock.networks.clone(),
            // libra's rule: host names have no underscore.
            basename: stock.node_basename.clone().unwrap_or_default().replace('_', "-"),
            az: stock.az,
        })
    }

    /// Stops building for a stock until somebody resumes it.
    ///
    /// # Errors
    /// The store's.
    pub async fn pause(&self, stock: &str, reason: &str) -> Result<(), Error> {
        let (stock, reason) = (stock.to_owned(), reason.to_owned());
        self.store()
            .write(move |tx| {
                let mut record = StockRecord::find(tx, &stock)?;
                record.paused = Some(reason.clone());
                record.save(tx)
            })
            .await
    }

    /// Builds for a stock again. What was lost until now does not count any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn resume(&self, stock: &str) -> Result<(), Error> {
        let stock = stock.to_owned();
        self.store()
            .write(move |tx| {
                let mut record = StockRecord::find(tx, &stock)?;
                record.paused = None;
                (record.failures, record.not_before) = (0, 0);
                record.last_error.clear();
                record.losses_forgiven = tx.now();
                record.save(tx)?;
                ScheduleRecord::count_early(tx)
            })
            .await
            .inspect(|()| self.inner.news.count())
    }
}
