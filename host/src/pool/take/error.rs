//! Why nothing was handed out.

use capstan_plugin_api::DriverError;

use crate::store::Error;

/// Why nothing was handed out.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// There is none.
    #[error("the stock {stock} has no spare node; `capstan pool status` says why")]
    Empty {
        /// The stock.
        stock: String,
    },
    /// There are some, and none that is well.
    #[error(
        "the {count} spare nodes of the stock {stock} do not answer: {reason}; `capstan pool nodes --stock {stock} --state ready` lists them"
    )]
    Unfit {
        /// The stock.
        stock: String,
        /// How many are ready.
        count: usize,
        /// What was last found wrong with one.
        reason: String,
    },
    /// No such stock.
    #[error("there is no stock {stock:?}; there are {known}")]
    Unknown {
        /// What was asked for.
        stock: String,
        /// What there is.
        known: String,
    },
    /// No such node.
    #[error("{0}")]
    NotThere(String),
    /// It is not in the state for this.
    #[error("{0}")]
    NotNow(String),
    /// The API server was asked and did not agree.
    #[error("the API server does not give the node: {error}")]
    Api {
        /// Its driver, as `kind.name`.
        driver: String,
        /// What it answered.
        error: DriverError,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}
