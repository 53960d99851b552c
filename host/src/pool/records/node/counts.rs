//! How many nodes a stock has, by how far they are.

use serde::Serialize;

use super::{Node, State};
use crate::store::{Error, Transaction};

/// How the reason of a node begins that the cloud has given up.
const GIVEN_UP: &str = "the cloud gave it up";

/// What may be wrong with nodes that stay in their state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Spare, and not well when it was last asked.
    Unfit,
    /// In use, and given up by the cloud.
    InError,
    /// Being built, and something was in the way.
    Delayed,
}

impl Trouble {
    fn condition(self) -> String {
        match self {
            Self::Unfit => "state = 'ready' AND origin = 'stock' AND health_failures > 0".to_owned(),
            Self::InError => format!("state IN ('reserved', 'taken') AND reason LIKE '{GIVEN_UP}%'"),
            Self::Delayed => {
                let states = State::ALL.into_iter().filter(|state| state.is_being_built());
                let states: Vec<_> = states.map(|state| format!("'{}'", state.as_str())).collect();
                format!("state IN ({}) AND origin = 'stock' AND reason <> ''", states.join(", "))
            }
        }
    }
}

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
    /// Of those that are ready: not well when they were last asked, so not handed out.
    pub unfit: usize,
    /// Of those that are reserved or taken, by message or not: given up by the cloud.
    pub in_error: usize,
}

impl Node {
    /// The reason of a node that the cloud has given up; the cloud's words follow.
    pub fn given_up(fault: &str) -> String {
        format!("{GIVEN_UP}: {fault}")
    }

    /// Whether its reason says that the cloud has given it up.
    pub fn is_given_up(&self) -> bool {
        self.reason.starts_with(GIVEN_UP)
    }

    /// How many nodes of a stock are in each state.
    pub fn counts(tx: &mut Transaction<'_>, stock: &str) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        let (unfit, in_error) = (Trouble::Unfit.condition(), Trouble::InError.condition());
        let sql = format!(
            "SELECT state, origin, COUNT(*) AS n, SUM(CASE WHEN {unfit} THEN 1 ELSE 0 END) AS unfit, \
             SUM(CASE WHEN {in_error} THEN 1 ELSE 0 END) AS in_error \
             FROM pool_nodes WHERE stock = $1 AND state <> 'deleted' GROUP BY state, origin"
        );
        for row in tx.query(&sql, &[&stock])? {
            let (state, origin): (String, String) = (row.get("state")?, row.get("origin")?);
            let number: usize = row.get("n")?;
            counts.unfit += row.get::<usize>("unfit")?;
            counts.in_error += row.get::<usize>("in_error")?;
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

    /// What was last found wrong with a node of a stock that is in this trouble.
    pub fn latest_trouble(tx: &mut Transaction<'_>, stock: &str, trouble: Trouble) -> Result<Option<String>, Error> {
        let sql = format!(
            "SELECT reason FROM pool_nodes WHERE stock = $1 AND {} ORDER BY updated DESC LIMIT 1",
            trouble.condition()
        );
        tx.query_one(&sql, &[&stock])?.map(|row| row.get("reason")).transpose()
    }
}
