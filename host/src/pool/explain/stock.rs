//! A stock: what is wanted, what there is by its rows, its cloud and the API server, and when it is filled.

use std::collections::BTreeMap;

use serde_json::json;

use super::{EVENTS, Explanation, Happening, Observation, Step, at_schedule, awake, patiently};
use crate::{
    config::Stock,
    http::{HoldView, Time},
    pool::{
        Pool, StockStatus, cloud, hold,
        records::{ScheduleRecord, StockRecord},
    },
    store::{Error, events},
};

impl Pool {
    pub(super) async fn explain_stock(&self, stock: &Stock) -> Result<Explanation, Error> {
        let (name, cloud, nodes) = (stock.name.clone(), stock.cloud.clone(), stock.nodes);
        let (status, held, schedules, events) = self
            .store()
            .read(move |tx| {
                let events = events::latest(tx, Some(&format!("stock/{name}")), None, EVENTS)?;
                let status = StockStatus::find(tx, &name, &cloud, Some(nodes))?;
                Ok::<_, Error>((status, hold::of_stock(tx, &name)?, ScheduleRecord::all(tx)?, events))
            })
            .await?;
        let in_cloud = async {
            let cloud = self.cloud(&stock.cloud)?;
            awake(cloud)?;
            let tags = BTreeMap::from([
                (cloud::OWNER.to_owned(), self.store().deployment().to_owned()),
                (cloud::STOCK.to_owned(), stock.name.clone()),
            ]);
            let mut states: BTreeMap<String, u64> = BTreeMap::new();
            let listed = cloud.tagged(tags, |page| {
                for node in page {
                    *states.entry(node.state).or_default() += 1;
                }
                Ok(())
            });
            listed.await.map_err(|error| format!("{error} ({})", error.code))?;
            Ok(json!(states))
        };
        let at_api = async {
            let free = self.api().free_count().await.map_err(|error| format!("{error} ({})", error.code))?;
            Ok(json!({ "url": self.api().url().await, "free": free }))
        };
        let (in_cloud, at_api) = tokio::join!(patiently(in_cloud), patiently(at_api));
        let StockStatus { counts, record, why, .. } = status;
        let mut rows = json!(counts);
        rows["why"] = json!(why);
        Ok(Explanation {
            object: format!("stock/{}", stock.name),
            name: stock.name.clone(),
            desired: json!({
                "nodes": stock.nodes, "cloud": stock.cloud, "image": stock.image, "size": stock.size,
                "location": stock.location, "az": stock.az,
            }),
            observed: vec![
                Observation::of("rows", Ok(rows)),
                Observation::of(format!("cloud {}", stock.cloud), in_cloud),
                Observation::of(self.api().driver(), at_api),
            ],
            job: None,
            last_error: Some(record.last_error.clone()).filter(|error| !error.is_empty()),
            next: next_of_stock(&record, held.is_some(), &schedules),
            hold: held.map(HoldView::from),
            events: events.into_iter().map(Happening::from).collect(),
            about: None,
        })
    }
}

fn next_of_stock(record: &StockRecord, is_held: bool, schedules: &[ScheduleRecord]) -> Step {
    if is_held {
        return Step::never("nothing, as long as it is held");
    }
    if let Some(reason) = &record.paused {
        return Step::never(format!("nothing is built until `capstan pool resume {}`: {reason}", record.stock));
    }
    let mut step = at_schedule("it is counted, and what is missing is built", "check_nodes", schedules);
    if step.at.is_some_and(|at| at.0 < record.not_before) {
        step = Step {
            what: "builds failed, so it rests; then what is missing is built".to_owned(),
            at: Some(Time(record.not_before)),
        };
    }
    step
}
