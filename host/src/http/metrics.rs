//! `/metrics`: what is counted as it happens, and what is looked at when somebody asks.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, extract::State, response::IntoResponse, routing::get};

use crate::{
    drivers::{DriverInfo, DriverState, Registry},
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
        self.observe(move || registry.list().iter().for_each(|driver| set(&figures, driver)));
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
    for state in DriverState::ALL {
        let [kind, name] = labels;
        figures.gauge(&names::DRIVER_STATE, [kind, name, state.as_str()]).set((driver.state == state).into());
    }
}

pub(super) fn routes(metrics: Metrics) -> Router {
    let render = async |State(metrics): State<Metrics>| {
        ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
    };
    Router::new().route("/metrics", get(render)).with_state(metrics)
}
