//! Floating addresses that were taken because a message asked for them.

use serde::Serialize;

use crate::store::{Error, Row, Transaction};

/// How far a floating address has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpState {
    /// The cloud is to be asked, or has been asked and has not answered.
    Planned,
    /// The account has it.
    Held,
    /// It was given back.
    Released,
}

impl IpState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Held => "held",
            Self::Released => "released",
        }
    }
}

/// A floating address. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ip {
    /// The id of the job that asked for it.
    pub id: String,
    /// Name of the cloud in the farm.
    pub cloud: String,
    /// How far it has come.
    pub state: IpState,
    /// The cloud's id.
    pub ip: Option<String>,
    /// The address.
    pub address: Option<String>,
    /// The ids of the account's addresses before the cloud was asked: one that is not among them, belongs to no other row and
    /// is on no node is the one that was asked for, should the answer be lost.
    pub known_before: Vec<String>,
    /// When the row was made.
    pub created: i64,
    /// When it was last changed.
    pub updated: i64,
}

const COLUMNS: &str = "id, cloud, state, ip, address, known_before, created, updated";

impl Ip {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let (state, known): (String, String) = (row.get("state")?, row.get("known_before")?);
        Ok(Self {
            id: row.get("id")?,
            cloud: row.get("cloud")?,
            state: match state.as_str() {
                "held" => IpState::Held,
                "released" => IpState::Released,
                _ => IpState::Planned,
            },
            ip: row.get("ip")?,
            address: row.get("address")?,
            known_before: serde_json::from_str(&known).map_err(|error| Error::Invalid(error.to_string()))?,
            created: row.get("created")?,
            updated: row.get("updated")?,
        })
    }

    /// The row of this id.
    pub fn find(tx: &mut Transaction<'_>, id: &str) -> Result<Option<Self>, Error> {
        let row = tx.query_one(&format!("SELECT {COLUMNS} FROM pool_ips WHERE id = $1"), &[&id])?;
        row.as_ref().map(Self::from_row).transpose()
    }

    /// Whether a row of a cloud has this id of the cloud.
    pub fn is_known(tx: &mut Transaction<'_>, cloud: &str, ip: &str) -> Result<bool, Error> {
        let row = tx.query_one("SELECT COUNT(*) AS n FROM pool_ips WHERE cloud = $1 AND ip = $2", &[&cloud, &ip])?;
        row.map_or(Ok(false), |row| row.get::<i64>("n").map(|number| number > 0))
    }

    /// Whether another row of a cloud waits for an address as well.
    pub fn others_wait(tx: &mut Transaction<'_>, cloud: &str, id: &str) -> Result<bool, Error> {
        let sql = "SELECT COUNT(*) AS n FROM pool_ips WHERE cloud = $1 AND id <> $2 AND state = 'planned'";
        let row = tx.query_one(sql, &[&cloud, &id])?;
        row.map_or(Ok(false), |row| row.get::<i64>("n").map(|number| number > 0))
    }

    /// Writes it, new or changed.
    pub fn save(&mut self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        self.updated = tx.now();
        let known = serde_json::to_string(&self.known_before).map_err(|error| Error::Invalid(error.to_string()))?;
        tx.execute(
            &format!(
                "INSERT INTO pool_ips ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (id) DO UPDATE SET \
                 state = excluded.state, ip = excluded.ip, address = excluded.address, updated = excluded.updated"
            ),
            &[&self.id, &self.cloud, &self.state.as_str(), &self.ip, &self.address, &known, &self.updated],
        )?;
        Ok(())
    }

    /// Notes that an address was given back.
    pub fn released(tx: &mut Transaction<'_>, cloud: &str, address: &str) -> Result<(), Error> {
        let now = tx.now();
        tx.execute(
            "UPDATE pool_ips SET state = 'released', updated = $3 WHERE cloud = $1 AND address = $2",
            &[&cloud, &address, &now],
        )?;
        Ok(())
    }
}
