//! `/metrics`: what is counted as it happens, and what is looked at when somebody asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{extract::State, response::IntoResponse};

use super::{Access, Routes};
use crate::{
    drivers::{DriverInfo, DriverState, Kind, Registry},
    telemetry::{Figures, names},
};

type Observer = Arc<dyn Fn() + Send + Sync>;

/// The figures of a daemon.
#[derive(Clone, Default)]
pub struct Metrics {
    figures: Figures,
    observers: Arc<Mutex<Vec<Observer>>>,
}

impl Metrics {
    /// Where figures are counted.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Adds something that sets gauges just before they are read.
    pub fn observe(&self, observer: impl Fn() + Send + Sync + 'static) {
        self.observers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(observer));
    }

    /// Sets the gauges of the drivers just before they are read.
    pub fn observe_drivers(&self, registry: Registry) {
        let figures = self.figures.clone();
        let shown: Mutex<BTreeMap<(Kind, String), Option<String>>> = Mutex::default();
        self.observe(move || {
            let drivers = registry.list();
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            // What was removed from the table, or serves another file, stops being shown.
            shown.retain(|(kind, name), sha256| {
                let labels = [("kind", kind.as_str()), ("driver", name.as_str())];
                match drivers.iter().find(|driver| driver.kind == *kind && driver.name == *name) {
                    None => figures.forget(&labels),
                    Some(driver) if driver.sha256 != *sha256 => {
                        let [kind, name] = labels;
                        figures.forget(&[kind, name, ("sha256", sha256.as_deref().unwrap_or_default())]);
                    }
                    Some(_) => return true,
                }
                false
            });
            for driver in &drivers {
                set(&figures, driver);
                shown.insert((driver.kind, driver.name.clone()), driver.sha256.clone());
            }
        });
    }

    fn render(&self) -> String {
        let observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        observers.iter().for_each(|observe| observe());
        self.figures.render()
    }
}

fn set(figures: &Figures, driver: &DriverInfo) {
    let labels = [driver.kind.as_str(), driver.name.as_str()];
    let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    figures.gauge(&names::DRIVER_RUNNING, labels).set(count(driver.in_flight));
    figures.gauge(&names::DRIVER_WAITING, labels).set(count(driver.queue));
    figures.gauge(&names::DRIVER_LOST_THREADS, labels).set(count(driver.lost_threads));
    figures.gauge(&names::DRIVER_GENERATION, labels).set(i64::try_from(driver.generation).unwrap_or(i64::MAX));
    figures.gauge(&names::DRIVER_DRAINING, labels).set(count(driver.draining_generations));
    figures.gauge(&names::DRIVER_RETIRED, labels).set(count(driver.retired_generations));
    figures.counter(&names::DRIVER_RESTARTS, labels).raise_to(driver.restarts);
    let [kind, name] = labels;
    figures.counter(&names::DRIVER_RELOADS, [kind, name, "done"]).raise_to(driver.reloads);
    figures.counter(&names::DRIVER_RELOADS, [kind, name, "refused"]).raise_to(driver.failed_reloads);
    if let (Some(version), Some(sha256)) = (&driver.version, &driver.sha256) {
        figures.gauge(&names::DRIVER_INFO, [kind, name, version, sha256]).set(1);
    }
    for (figure, value) in &driver.figures {
        figures.amount(&names::DRIVER_FIGURE, [kind, name, figure]).set(*value);
    }
    for state in DriverState::ALL {
        figures.gauge(&names::DRIVER_STATE, [kind, name, state.as_str()]).set((driver.state == state).into());
    }
}

pub(super) fn routes(metrics: Metrics) -> Routes {
    let render = async |State(metrics): State<Metrics>| {
        ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
    };
    Routes::new().get("/metrics", Access::Viewer, "the figures, for Prometheus", render).with_state(metrics)
}
