//! From a method's name and JSON parameters to the trait's method and back.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{CallContext, DriverError, Health, Host, Outcome, Pending, error::ErrorCode};

/// A dispatched call's result, already in JSON.
#[derive(Debug)]
pub enum Answer {
    /// Finished, with the result.
    Done(Vec<u8>),
    /// Goes on.
    Pending(Pending),
}

/// One kind of driver as the boundary sees it. The attribute names the implementation that belongs to the trait.
pub trait Interface: Sized + Send + Sync + 'static {
    /// The author's configuration.
    type Config: DeserializeOwned;

    /// Opens an instance.
    fn open(config: Self::Config, host: Host) -> Result<Self, DriverError>;

    /// Runs one method.
    fn dispatch(&self, call: &CallContext, method: &str, params: Option<&RawValue>) -> Result<Answer, DriverError>;

    /// See [`crate::Driver::health`].
    fn health(&self) -> Result<Health, DriverError>;

    /// See [`crate::Driver::close`].
    fn close(self);
}

/// Reads a method's parameters. Fields that the type does not know are ignored; no parameters are an empty object.
pub fn parse<T: DeserializeOwned>(method: &str, params: Option<&RawValue>) -> Result<T, DriverError> {
    let text = params.map_or("{}", RawValue::get);
    serde_json::from_str(text)
        .map_err(|error| DriverError::invalid_argument(format!("the parameters of {method} cannot be read: {error}")))
}

/// Writes a method's result.
pub fn done<T: Serialize>(method: &str, value: &T) -> Result<Answer, DriverError> {
    serde_json::to_vec(value)
        .map(Answer::Done)
        .map_err(|error| DriverError::internal(format!("the result of {method} cannot be written: {error}")))
}

/// Writes the outcome of a method that may take long.
pub fn outcome<T: Serialize>(method: &str, value: Outcome<T>) -> Result<Answer, DriverError> {
    match value {
        Outcome::Done(value) => done(method, &value),
        Outcome::Pending(pending) => Ok(Answer::Pending(pending)),
    }
}

/// The answer to a method that the interface does not have.
pub fn unknown_method(method: &str) -> DriverError {
    DriverError::new(ErrorCode::NOT_SUPPORTED, format!("the driver has no method {method:?}"))
}

/// Lists a trait's methods once: `name(Parameters)`, `name()`, and `long name(Parameters)` for an [`Outcome`].
macro_rules! interface {
    ($(#[$doc:meta])* $export:ident<D: $driver:ident> { $($entry:tt)* }) => {
        $(#[$doc])*
        pub struct $export<D>(D);

        impl<D: $driver> $export<D> {
            /// Runs one method of `driver`.
            pub fn run(
                driver: &D,
                call: &$crate::CallContext,
                method: &str,
                params: Option<&serde_json::value::RawValue>,
            ) -> Result<$crate::dispatch::Answer, $crate::DriverError> {
                $crate::dispatch::interface!(@methods driver, call, method, params; $($entry)*);
                Err($crate::dispatch::unknown_method(method))
            }
        }

        impl<D: $driver> $crate::dispatch::Interface for $export<D> {
            type Config = D::Config;

            fn open(config: Self::Config, host: $crate::Host) -> Result<Self, $crate::DriverError> {
                D::open(config, host).map(Self)
            }

            fn dispatch(
                &self,
                call: &$crate::CallContext,
                method: &str,
                params: Option<&serde_json::value::RawValue>,
            ) -> Result<$crate::dispatch::Answer, $crate::DriverError> {
                Self::run(&self.0, call, method, params)
            }

            fn health(&self) -> Result<$crate::Health, $crate::DriverError> {
                self.0.health()
            }

            fn close(self) {
                self.0.close();
            }
        }
    };
    (@methods $driver:ident, $call:ident, $method:ident, $params:ident;) => {};
    (@methods $driver:ident, $call:ident, $method:ident, $params:ident; long $name:ident($type:ty); $($rest:tt)*) => {
        if $method == stringify!($name) {
            let request: $type = $crate::dispatch::parse($method, $params)?;
            return $crate::dispatch::outcome($method, $driver.$name($call, &request)?);
        }
        $crate::dispatch::interface!(@methods $driver, $call, $method, $params; $($rest)*);
    };
    (@methods $driver:ident, $call:ident, $method:ident, $params:ident; $name:ident(); $($rest:tt)*) => {
        if $method == stringify!($name) {
            return $crate::dispatch::done($method, &$driver.$name($call)?);
        }
        $crate::dispatch::interface!(@methods $driver, $call, $method, $params; $($rest)*);
    };
    (@methods $driver:ident, $call:ident, $method:ident, $params:ident; $name:ident($type:ty); $($rest:tt)*) => {
        if $method == stringify!($name) {
            let request: $type = $crate::dispatch::parse($method, $params)?;
            return $crate::dispatch::done($method, &$driver.$name($call, &request)?);
        }
        $crate::dispatch::interface!(@methods $driver, $call, $method, $params; $($rest)*);
    };
}
pub(crate) use interface;
