//! BUILD_DEVICE and DELETE_DEVICE.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Answer, Request, text};
use crate::{
    failpoint,
    pool::{
        Pool,
        records::{Node, Origin, State},
        shared::{StockKey, ensure_job, kind, note, object, order_delete, plan},
    },
    store::{
        Error, jobs as work,
        runner::{Next, Running, Stop},
    },
};

/// How often it is looked how far a node is whose job another daemon may be doing.
const LOOK: Duration = Duration::from_secs(1);
/// libra's API waits 30 seconds for a DELETE_DEVICE; it is told in time that the cloud has not let go yet.
const DELETE_WAIT: Duration = Duration::from_secs(25);

impl Pool {
    /// Builds a node that the asker registers himself. The inner error is how the run ends without an answer.
    pub(super) async fn build_device(
        &self,
        running: &Running,
        request: &Request,
    ) -> Result<Result<Answer, Next>, Error> {
        let settings = self.settings();
        let named = request.get("stock").and_then(Value::as_str);
        let stock = match named {
            Some(name) => settings.stock(name),
            None => settings.stocks.first(),
        };
        let Some(stock) = stock else {
            return Ok(Ok(Err((format!("there is no stock {}", named.unwrap_or("at all")), Map::new()))));
        };
        // The id comes from the job: run again, it finds what it began.
        let id = running.job.id.to_ascii_lowercase();
        let begun = self.node(&id).await?;
        if begun.is_none() {
            let spec = match self.spec(&settings, stock).await {
                Ok(spec) => spec,
                Err(reason) => return Ok(Ok(Err((reason, Map::new())))),
            };
            let key = StockKey::of(&stock.cloud, &settings.driver, &spec);
            let node = plan(stock, &key, spec, Origin::Message, Some(id.clone()));
            running
                .write(move |tx| {
                    let mut node = node.clone();
                    node.insert(tx)?;
                    note(tx, &node, "planned")?;
                    ensure_job(tx, &node)
                })
                .await?;
            failpoint::reached("pool.build.intended");
        }
        let mut news = self.inner.news.listen();
        loop {
            let Some(node) = self.node(&id).await? else {
                return Ok(Ok(Err(("the node's row is gone".to_owned(), Map::new()))));
            };
            let mut known = Map::new();
            if let Some(address) = &node.address {
                known.insert("name".to_owned(), json!(node.name));
                known.insert("addr".to_owned(), json!(address));
                known.insert("type".to_owned(), json!(kind(&node.spec)));
                known.insert("az".to_owned(), json!(node.spec.az));
            }
            match node.state {
                State::Taken => return Ok(Ok(Ok(known))),
                state if state.is_being_built() => {}
                _ => return Ok(Ok(Err((node.reason, known)))),
            }
            let stop = tokio::select! {
                stop = running.pause(LOOK) => stop,
                () = news.about(&id) => running.stop(),
            };
            match stop {
                Some(Stop::Ending) => return Ok(Err(Next::Released)),
                Some(Stop::Cancelled) => {
                    self.change(node, |tx, node| order_delete(tx, node, "its message was cancelled")).await?;
                    return Ok(Err(Next::Cancelled("cancelled".to_owned())));
                }
                None => {}
            }
        }
    }

    /// Deletes a node of the pool by its name, and answers when the cloud has let go of it.
    pub(super) async fn delete_device(
        &self,
        running: &Running,
        request: &Request,
    ) -> Result<Result<Answer, Next>, Error> {
        let name = match text(request, "name") {
            Ok(name) => name.to_owned(),
            Err(refused) => return Ok(Ok(Err(refused))),
        };
        let wanted = name.clone();
        let found = running
            .write(move |tx| {
                let Some(mut node) = Node::named(tx, &wanted)? else { return Ok(None) };
                if node.state != State::Deleted && !(node.state == State::Deleting && node.ordered) {
                    order_delete(tx, &mut node, "a message asked for it")?;
                }
                Ok(Some(node.id))
            })
            .await?;
        let Some(id) = found else {
            let reason = format!("the pool has built no node {name:?}, and deletes none that it did not build");
            return Ok(Ok(Err((reason, Map::new()))));
        };
        failpoint::reached("pool.delete.intended");
        let (began, mut news) = (tokio::time::Instant::now(), self.inner.news.listen());
        loop {
            let node = self.node(&id).await?;
            if node.is_none_or(|node| node.state == State::Deleted) {
                return Ok(Ok(Ok(Map::new())));
            }
            if began.elapsed() > DELETE_WAIT {
                let about = object(&id);
                let jobs = self.store().read(move |tx| work::live_of_object(tx, &about)).await?;
                let why = jobs.into_iter().find_map(|job| job.error);
                let why = why.unwrap_or_else(|| "the cloud has not let go of it yet".to_owned());
                return Ok(Ok(Err((format!("{why}; it is still being deleted"), Map::new()))));
            }
            let stop = tokio::select! {
                stop = running.pause(LOOK) => stop,
                () = news.about(&id) => running.stop(),
            };
            if stop == Some(Stop::Ending) {
                return Ok(Err(Next::Released));
            }
        }
    }

    pub(super) async fn node(&self, id: &str) -> Result<Option<Node>, Error> {
        let id = id.to_owned();
        self.store().read(move |tx| Node::find(tx, &id)).await
    }
}
