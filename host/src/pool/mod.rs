//! The pool manager: keeps load-balancer nodes in stock.
//!
//! A node is a row ([`records::Node`]) before it is anything else. A job leads it from one state to the next (`build`, `delete`), and
//! may be killed between any two steps: what was meant is written before it is done, and after a restart the cloud and the API
//! server are looked at before they are asked again. The schedules ([`Server`]) only compare what there is with what is wanted
//! and write down new intents; one daemon at a time runs them.
//!
//! The words are the seed's: a server with `main`, `check_nodes`, `build_nodes` and the scheduler's reset, and nodes that are built.

mod address;
mod api;
mod breaker;
mod build;
mod caller;
mod cloud;
mod delete;
mod devices;
mod diagnostics;
mod explain;
mod fault;
mod figures;
mod health;
mod hold;
mod message;
mod news;
mod pace;
mod reconcile;
pub mod records;
mod retest;
mod retry;
mod rotate;
mod routes;
mod server;
mod settings;
mod shared;
mod status;
mod stocks;
mod take;
mod user_data;

pub use api::Api;
pub use cloud::Cloud;
pub use explain::{Explanation, Happening, Observation, Step};
pub use message::Messages;
pub use routes::routes;
pub use server::{Server, Shutdown};
pub use settings::Applied;
pub use shared::{Pool, StockKey};
pub use status::{CloudStatus, Status, StockStatus};
pub use take::{Take, TakeError, Taken};
pub use user_data::{Enrolment, asks_for_enrolment};
