//! Spare nodes whose time is over: too old, or built when the stock was still asked for otherwise. They are replaced first and
//! deleted then, a tenth of the stock at a time.

use super::{
    Pool,
    build::now,
    hold::delete_unless_held,
    records::{Node, State},
    settings::Settings,
    shared::StockKey,
};
use crate::{config::Stock, store::Error};

/// So many spare nodes are looked at.
const MOST: usize = 100_000;

impl Pool {
    /// The spare nodes of a stock that are to be replaced, the oldest first. None while it is not known which nodes are spare.
    pub(super) async fn stale(&self, settings: &Settings, stock: &Stock) -> Result<Vec<Node>, Error> {
        if !self.api().lists() {
            return Ok(Vec::new());
        }
        // Without the cloud's answer nobody knows what the stock's key would be now.
        let key = self.spec(stock).await.ok().map(|spec| StockKey::of(&stock.cloud, &settings.driver, &spec));
        let oldest =
            settings.max_age.map(|age| now().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let name = stock.name.clone();
        let ready = self.store().read(move |tx| Node::of_stock(tx, &name, State::Ready, MOST)).await?;
        let is_stale = |node: &Node| {
            let is_other = key.as_ref().is_some_and(|key| key.as_str() != node.key);
            let is_old = oldest.is_some_and(|oldest| node.ready_at.is_some_and(|ready| ready < oldest));
            is_other || is_old
        };
        Ok(ready.into_iter().filter(is_stale).collect())
    }

    /// Deletes stale nodes, as many as there are more spare nodes than wanted.
    pub(super) async fn retire_stale(&self, stale: Vec<Node>, surplus: usize) -> Result<(), Error> {
        for node in stale.into_iter().take(surplus) {
            let outcome = self
                .store()
                .write(move |tx| {
                    let mut node = node.clone();
                    delete_unless_held(tx, &mut node, "too old, or the stock is asked for otherwise now").map(drop)
                })
                .await;
            match outcome {
                // Somebody took it meanwhile.
                Ok(()) | Err(Error::Contended(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
