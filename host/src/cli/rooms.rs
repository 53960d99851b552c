//! What the rooms that keep something in the store bring along.

use crate::{
    http, identity, lbaas, orchestrator, pool,
    store::{Invariant, Migration},
};

/// The tables of every room, in the order in which they are made.
pub fn migrations() -> Vec<Migration> {
    [
        http::migrations(),
        lbaas::migrations(),
        identity::MIGRATIONS.to_vec(),
        pool::records::MIGRATIONS.to_vec(),
        orchestrator::clouds::MIGRATIONS.to_vec(),
    ]
    .concat()
}

/// What always holds for those tables.
pub fn invariants() -> Vec<Invariant> {
    pool::records::INVARIANTS.to_vec()
}
