//! Spare nodes whose time is over: too old, or built when the stock was still asked for otherwise. They are replaced first and
//! deleted then, a tenth of the stock at a time.

use super::{Pool, build::now, hold::delete_unless_held, records::Node, settings::Settings, shared::StockKey};
use crate::{config::Stock, store::Error};

impl Pool {
    /// The spare nodes of a stock that are to be replaced, the oldest first, at most a tenth of the stock. None while it is not known
    /// which nodes are spare.
    pub(super) async fn stale(&self, settings: &Settings, stock: &Stock) -> Result<Vec<Node>, Error> {
        if !self.api().lists() {
            return Ok(Vec::new());
        }
        // Without the cloud's answer nobody knows what the stock's key would be now.
        let key = self.spec(settings, stock).await.ok().map(|spec| StockKey::of(&stock.cloud, &settings.driver, &spec));
        let oldest =
            settings.max_age.map(|age| now().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let (name, most) = (stock.name.clone(), (stock.nodes / 10).max(1));
        let key = key.as_ref().map(|key| key.as_str().to_owned());
        self.store().read(move |tx| Node::stale(tx, &name, key.as_deref(), oldest, most)).await
    }

    /// Deletes stale nodes, as many as there are more spare nodes than wanted.
    pub(super) async fn retire_stale(&self, stale: Vec<Node>, surplus: usize) -> Result<(), Error> {
        for node in stale.into_iter().take(surplus) {
            let reason = "too old, or the stock is asked for otherwise now";
            self.change(node, |tx, node| delete_unless_held(tx, node, reason).map(drop)).await?;
        }
        Ok(())
    }
}
