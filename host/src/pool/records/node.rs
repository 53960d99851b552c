//! Nodes as the pool knows them: one row each, from the intent to build it until the cloud has forgotten it.

mod counts;
mod find;
mod state;

pub use counts::{Counts, Trouble};
pub use find::Spare;
pub use state::{Origin, State};

use serde::{Deserialize, Serialize};

use crate::{
    http::{millis, optional_millis},
    store::{Error, Row, Transaction},
};

/// What the cloud is asked for; kept, so that a repeated request is the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Id of the image.
    pub image: String,
    /// What the image is called in the configuration.
    pub image_name: String,
    /// Id of the size.
    pub size: String,
    /// Id of the location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Name of the key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<String>,
    /// Names of security groups.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Ids of networks.
    #[serde(default)]
    pub networks: Vec<String>,
    /// What stands before the id in the name.
    #[serde(default)]
    pub basename: String,
    /// The number that the API server is told.
    pub az: u32,
}

/// A node of the pool. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Node {
    /// Our id, which the name carries.
    pub id: String,
    /// The id that its tags carry: ours, save for an orphan.
    pub tag: String,
    /// Name of the stock that it belongs to.
    pub stock: String,
    /// What it is like; nodes with equal keys may replace each other.
    pub key: String,
    /// Its name in the cloud and on the API server, and its worker's function.
    pub name: String,
    /// Name of the cloud in the farm.
    pub cloud: String,
    /// Why it is there.
    pub origin: Origin,
    /// How far it has come.
    pub state: State,
    /// What the cloud is asked for.
    pub spec: Spec,
    /// The cloud's id.
    pub node: Option<String>,
    /// The address it is reached at.
    pub address: Option<String>,
    /// What it shares with others that fail together with it: the cloud's host, or else the location.
    pub host: Option<String>,
    /// The API server's id.
    pub device: Option<String>,
    /// Who has taken it.
    pub owner: Option<String>,
    /// Until when a reservation holds.
    #[serde(serialize_with = "optional_millis")]
    pub held_until: Option<i64>,
    /// When the cloud, or the API server, was last asked to make it without having answered.
    #[serde(serialize_with = "optional_millis")]
    pub asked_at: Option<i64>,
    /// When the cloud took it up.
    #[serde(serialize_with = "optional_millis")]
    pub building_since: Option<i64>,
    /// When it entered the stock.
    #[serde(serialize_with = "optional_millis")]
    pub ready_at: Option<i64>,
    /// When it was last asked how it is.
    #[serde(serialize_with = "optional_millis")]
    pub checked_at: Option<i64>,
    /// So many times in a row it was not well.
    pub health_failures: u32,
    /// So many times in a row the cloud said that it is not there.
    pub missed: u32,
    /// Why it is in its state, for people.
    pub reason: String,
    /// A person or a message asked for its deletion, which goes on also while deletions by the pool itself are held.
    pub ordered: bool,
    /// When the row was made.
    #[serde(serialize_with = "millis")]
    pub created: i64,
    /// When the row was last changed.
    #[serde(serialize_with = "millis")]
    pub updated: i64,
    /// Counts the changes of the row.
    pub version: i64,
}

const COLUMNS: &str = "id, tag, stock, key, name, cloud, origin, state, spec, node, address, host, device, owner, held_until, \
asked_at, building_since, ready_at, checked_at, health_failures, missed, reason, ordered, created, updated, \
version";

fn invalid(what: &str, id: &str) -> Error {
    Error::Invalid(format!("the {what} of the pool's node {id} cannot be read"))
}

impl Node {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let id: String = row.get("id")?;
        let state: String = row.get("state")?;
        let origin: String = row.get("origin")?;
        let spec: String = row.get("spec")?;
        Ok(Self {
            tag: row.get("tag")?,
            stock: row.get("stock")?,
            key: row.get("key")?,
            name: row.get("name")?,
            cloud: row.get("cloud")?,
            origin: match origin.as_str() {
                "message" => Origin::Message,
                "orphan" => Origin::Orphan,
                _ => Origin::Stock,
            },
            state: State::from_name(&state).ok_or_else(|| invalid("state", &id))?,
            spec: serde_json::from_str(&spec).map_err(|_| invalid("specification", &id))?,
            node: row.get("node")?,
            address: row.get("address")?,
            host: row.get("host")?,
            device: row.get("device")?,
            owner: row.get("owner")?,
            held_until: row.get("held_until")?,
            asked_at: row.get("asked_at")?,
            building_since: row.get("building_since")?,
            ready_at: row.get("ready_at")?,
            checked_at: row.get("checked_at")?,
            health_failures: row.get("health_failures")?,
            missed: row.get("missed")?,
            reason: row.get("reason")?,
            ordered: row.get("ordered")?,
            created: row.get("created")?,
            updated: row.get("updated")?,
            version: row.get("version")?,
            id,
        })
    }

    /// Writes a new row. Its times and its version are set.
    pub fn insert(&mut self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        (self.created, self.updated, self.version) = (tx.now(), tx.now(), 1);
        let spec = serde_json::to_string(&self.spec).map_err(|error| Error::Invalid(error.to_string()))?;
        let sql = format!(
            "INSERT INTO pool_nodes ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
             $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)"
        );
        tx.execute(
            &sql,
            &[
                &self.id,
                &self.tag,
                &self.stock,
                &self.key,
                &self.name,
                &self.cloud,
                &self.origin.as_str(),
                &self.state.as_str(),
                &spec,
                &self.node,
                &self.address,
                &self.host,
                &self.device,
                &self.owner,
                &self.held_until,
                &self.asked_at,
                &self.building_since,
                &self.ready_at,
                &self.checked_at,
                &self.health_failures,
                &self.missed,
                &self.reason,
                &self.ordered,
                &self.created,
                &self.updated,
                &self.version,
            ],
        )?;
        Ok(())
    }

    /// Writes what has changed, if nobody else has changed the row since it was read.
    ///
    /// # Errors
    /// [`Error::Contended`] when somebody has.
    pub fn save(&mut self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        let read = self.version;
        (self.updated, self.version) = (tx.now(), read + 1);
        let changed = tx.execute(
            "UPDATE pool_nodes SET state = $3, node = $4, address = $5, host = $6, device = $7, owner = $8, held_until = $9, \
             asked_at = $10, building_since = $11, ready_at = $12, checked_at = $13, health_failures = $14, missed = $15, \
             reason = $16, updated = $17, version = $18, ordered = $19 WHERE id = $1 AND version = $2",
            &[
                &self.id, &read, &self.state.as_str(), &self.node, &self.address, &self.host, &self.device, &self.owner,
                &self.held_until, &self.asked_at, &self.building_since, &self.ready_at, &self.checked_at,
                &self.health_failures, &self.missed, &self.reason, &self.updated, &self.version, &self.ordered,
            ],
        )?;
        if changed == 1 {
            return Ok(());
        }
        Err(Error::Contended(format!("the pool's node {} has been changed meanwhile", self.id)))
    }
}
