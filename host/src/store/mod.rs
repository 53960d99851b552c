//! State that survives: one interface over SQLite (one machine) and PostgreSQL (several daemons).
//!
//! The room knows jobs, leases, events, holds and the deployment's id, and nothing of what the rooms above keep: each of those
//! brings its tables as [`Migration`]s and its queries in its own folder.
//!
//! **Two doors.** [`Store::read`] and [`Store::write`] take a closure over a [`Transaction`]. A write is answered once it is on
//! disk. A closure may be run again (several callers share one commit; PostgreSQL asks for a repetition where two transactions
//! met), so it works on its transaction alone and has no effect outside.
//!
//! **One dialect.** SQL is written once, in words that both databases understand: parameters `$1`, `$2`; types `BIGINT`, `TEXT`,
//! `BYTEA`; `ON CONFLICT`, `RETURNING`; `CAST(SUM(..) AS BIGINT)`, because PostgreSQL sums to a type of its own. Times are
//! milliseconds since 1970, truths are 0 and 1 in a `BIGINT`, JSON is `TEXT`. A text holds no NUL, and texts are compared byte by
//! byte. A statement that fails ends its transaction on both.

mod access;
pub mod backup;
mod check;
mod clock;
mod error;
pub mod events;
mod handle;
mod health;
pub mod holds;
pub mod jobs;
pub mod leases;
mod meta;
mod migrations;
mod postgres;
mod retention;
mod row;
pub mod runner;
mod settings;
mod sqlite;
mod tables;
mod transaction;
mod value;
mod work;

pub use check::{Checked, Facts, Invariant, Table, check, facts};
pub use clock::Clock;
pub use error::{Constraint, Error};
pub use handle::{Backend, Store};
pub use health::Health;
pub use meta::Restored;
pub use migrations::Migration;
pub use row::Row;
pub use settings::{Location, Settings};
pub use transaction::Transaction;
pub use value::{Bind, FromValue, Parameter, Value};
