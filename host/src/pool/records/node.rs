//! Nodes as the pool knows them: one row each, from the intent to build it until the cloud has forgotten it.

use serde::{Deserialize, Serialize};

use crate::store::{Error, Row, Transaction};

/// How far a node has come. The order of the words is the order of its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is to be built. Whether the cloud has been asked, `asked_at` says.
    #[default]
    Planned,
    /// The cloud has it; it does not run yet.
    Building,
    /// It runs and is asked how it is.
    Checking,
    /// It is good and the API server is told.
    Registering,
    /// In stock.
    Ready,
    /// Somebody has taken it; it is given back when nobody confirms.
    Reserved,
    /// In use.
    Taken,
    /// It was built and is not fit for the stock yet; it is tested again.
    Failed,
    /// It was there and is no longer.
    Lost,
    /// It is to be deleted: the API server first, then the cloud.
    Deleting,
    /// The cloud has said twice that it is gone.
    Deleted,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Planned,
        Self::Building,
        Self::Checking,
        Self::Registering,
        Self::Ready,
        Self::Reserved,
        Self::Taken,
        Self::Failed,
        Self::Lost,
        Self::Deleting,
        Self::Deleted,
    ];

    /// The word in the store and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Building => "building",
            Self::Checking => "checking",
            Self::Registering => "registering",
            Self::Ready => "ready",
            Self::Reserved => "reserved",
            Self::Taken => "taken",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// The state of this word.
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// A build is under way.
    pub const fn is_being_built(self) -> bool {
        matches!(self, Self::Planned | Self::Building | Self::Checking | Self::Registering)
    }

    /// The state does not last by itself: a job must be alive that leads out of it.
    pub const fn needs_a_job(self) -> bool {
        self.is_being_built() || matches!(self, Self::Deleting)
    }
}

/// Why a node is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// To fill a stock.
    #[default]
    Stock,
    /// Somebody asked for it by message and registers it himself.
    Message,
    /// It was found in a cloud with our tags and no row that explained it; it is deleted.
    Orphan,
}

impl Origin {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Message => "message",
            Self::Orphan => "orphan",
        }
    }
}

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
    pub held_until: Option<i64>,
    /// When the cloud, or the API server, was last asked to make it without having answered.
    pub asked_at: Option<i64>,
    /// When the cloud took it up.
    pub building_since: Option<i64>,
    /// When it entered the stock.
    pub ready_at: Option<i64>,
    /// When it was last asked how it is.
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
    pub created: i64,
    /// When the row was last changed.
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

    /// The node of this id.
    pub fn find(tx: &mut Transaction<'_>, id: &str) -> Result<Option<Self>, Error> {
        Self::one(tx, "id = $1", id)
    }

    /// The node of this name.
    pub fn named(tx: &mut Transaction<'_>, name: &str) -> Result<Option<Self>, Error> {
        Self::one(tx, "name = $1", name)
    }

    /// The node of a stock that an owner has reserved or taken.
    pub fn owned(tx: &mut Transaction<'_>, stock: &str, owner: &str) -> Result<Option<Self>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE stock = $1 AND owner = $2 AND state IN ('reserved', 'taken') \
             ORDER BY id LIMIT 1"
        );
        let row = tx.query_one(&sql, &[&stock, &owner])?;
        row.as_ref().map(Self::from_row).transpose()
    }

    fn one(tx: &mut Transaction<'_>, condition: &str, value: &str) -> Result<Option<Self>, Error> {
        let row = tx.query_one(&format!("SELECT {COLUMNS} FROM pool_nodes WHERE {condition}"), &[&value])?;
        row.as_ref().map(Self::from_row).transpose()
    }

    /// The spare nodes of a stock that were well when they were last asked, the oldest first; at most so many.
    pub fn fit(tx: &mut Transaction<'_>, stock: &str, most: usize) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE stock = $1 AND state = 'ready' AND health_failures = 0 \
             ORDER BY created, id LIMIT $2"
        );
        tx.query(&sql, &[&stock, &most])?.iter().map(Self::from_row).collect()
    }

    /// The spare nodes of a stock that have another key than this one or that entered it before a time, as far as either is given; the
    /// oldest first, at most so many.
    pub fn stale(
        tx: &mut Transaction<'_>,
        stock: &str,
        key: Option<&str>,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE stock = $1 AND state = 'ready' \
             AND (key <> CAST($2 AS TEXT) OR ready_at < CAST($3 AS BIGINT)) ORDER BY created, id LIMIT $4"
        );
        tx.query(&sql, &[&stock, &key, &before, &most])?.iter().map(Self::from_row).collect()
    }

    /// Nodes whose reservation was over at a time; at most so many.
    pub fn reserved_until(tx: &mut Transaction<'_>, at: i64, most: usize) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE state = 'reserved' AND held_until <= $1 ORDER BY id LIMIT $2"
        );
        tx.query(&sql, &[&at, &most])?.iter().map(Self::from_row).collect()
    }

    /// What the API server's list is compared with: the spare nodes, after `after` in the order of ids; at most so many.
    pub fn spare(tx: &mut Transaction<'_>, after: &str, most: usize) -> Result<Vec<Spare>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql =
            "SELECT id, name, device, version FROM pool_nodes WHERE state = 'ready' AND id > $1 ORDER BY id LIMIT $2";
        tx.query(sql, &[&after, &most])?
            .iter()
            .map(|row| {
                let (id, name, device) = (row.get("id")?, row.get("name")?, row.get("device")?);
                Ok(Spare { id, name, device, version: row.get("version")? })
            })
            .collect()
    }

    /// Nodes in a state after `after` in the order of ids; at most so many.
    pub fn in_state(tx: &mut Transaction<'_>, state: State, after: &str, most: usize) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!("SELECT {COLUMNS} FROM pool_nodes WHERE state = $1 AND id > $2 ORDER BY id LIMIT $3");
        tx.query(&sql, &[&state.as_str(), &after, &most])?.iter().map(Self::from_row).collect()
    }

    /// All nodes of a cloud but those that are deleted, after `after` in the order of ids; at most so many.
    pub fn of_cloud(tx: &mut Transaction<'_>, cloud: &str, after: &str, most: usize) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE cloud = $1 AND state <> 'deleted' AND id > $2 ORDER BY id LIMIT $3"
        );
        tx.query(&sql, &[&cloud, &after, &most])?.iter().map(Self::from_row).collect()
    }

    /// The stocks that have nodes, each with a cloud of theirs.
    pub fn stocks(tx: &mut Transaction<'_>) -> Result<Vec<(String, String)>, Error> {
        let sql = "SELECT stock, MIN(cloud) AS cloud FROM pool_nodes WHERE state <> 'deleted' AND origin <> 'orphan' \
                   GROUP BY stock ORDER BY stock";
        tx.query(sql, &[])?.iter().map(|row| Ok((row.get("stock")?, row.get("cloud")?))).collect()
    }

    /// Forgets nodes that were deleted before a time; at most so many.
    pub fn forget_deleted(tx: &mut Transaction<'_>, before: i64, most: u32) -> Result<u64, Error> {
        tx.execute(
            "DELETE FROM pool_nodes WHERE id IN \
             (SELECT id FROM pool_nodes WHERE state = 'deleted' AND updated < $1 ORDER BY updated LIMIT $2)",
            &[&before, &most],
        )
    }

    /// Nodes of a state and a stock, if they are given, else all but those that are deleted; after an id, at most so many.
    pub fn list(
        tx: &mut Transaction<'_>,
        state: Option<State>,
        stock: Option<&str>,
        after: &str,
        most: usize,
    ) -> Result<Vec<Self>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let state = state.map(State::as_str);
        let sql = format!(
            "SELECT {COLUMNS} FROM pool_nodes WHERE id > $1 AND ((CAST($2 AS TEXT) IS NULL AND state <> 'deleted') OR state = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR stock = $3) ORDER BY id LIMIT $4"
        );
        tx.query(&sql, &[&after, &state, &stock, &most])?.iter().map(Self::from_row).collect()
    }

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

/// A spare node, as far as the API server's list is compared with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in the node
pub struct Spare {
    pub id: String,
    pub name: String,
    pub device: Option<String>,
    pub version: i64,
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
}
