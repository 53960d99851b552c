//! Drivers: the load pipeline, executors and the registry.
