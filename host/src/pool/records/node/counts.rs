//! How many nodes a stock has, by how far they are.

use serde::Serialize;

use super::{Node, State};
use crate::store::{Error, Transaction};

/// How many nodes of a stock are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the states, counted
pub struct Counts {
    pub building: usize,
    pub ready: usize,
    pub reserved: usize,
    pub taken: usize,
    pub failed: usize,
    pub lost: usize,
    pub deleting: usize,
    /// Built because a message asked for them.
    pub by_message: usize,
}

impl Node {
    /// How many nodes of a stock are in each state.
    pub fn counts(tx: &mut Transaction<'_>, stock: &str) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        let sql = "SELECT state, origin, COUNT(*) AS n FROM pool_nodes WHERE stock = $1 AND state <> 'deleted' \
                   GROUP BY state, origin";
        for row in tx.query(sql, &[&stock])? {
            let (state, origin): (String, String) = (row.get("state")?, row.get("origin")?);
            let number: usize = row.get("n")?;
            // What was built by message belongs to whoever asked.
            if origin != "stock" {
                counts.by_message += if origin == "message" { number } else { 0 };
                continue;
            }
            match State::from_name(&state) {
                Some(state) if state.is_being_built() => counts.building += number,
                Some(State::Ready) => counts.ready += number,
                Some(State::Reserved) => counts.reserved += number,
                Some(State::Taken) => counts.taken += number,
                Some(State::Failed) => counts.failed += number,
                Some(State::Lost) => counts.lost += number,
                Some(State::Deleting) => counts.deleting += number,
                _ => {}
            }
        }
        Ok(counts)
    }
}
