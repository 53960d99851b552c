//! The table of devices.

use crate::store::{Constraint, Error, Migration, Row, Store};

/// Tables of this room.
pub fn migrations() -> Vec<Migration> {
    vec![Migration { room: "lbaas", version: 1, sql: include_str!("table.sql") }]
}

/// A spare device: built, registered, and of no load balancer.
pub(super) const OFFLINE: &str = "OFFLINE";

/// The devices of a store.
#[derive(Clone)]
pub struct Devices(Store);

/// A device. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Grows with each device.
    pub id: i64,
    /// Also the Gearman function under which its worker is called.
    pub name: String,
    /// The address that traffic comes to.
    pub public_address: String,
    /// The floating address; libra's pool manager says the same twice.
    pub floating_address: String,
    /// Availability zone.
    pub az: i64,
    /// What it was built from, in the pool manager's words.
    pub kind: String,
    /// `OFFLINE` (spare), `ONLINE`, `ERROR`; an open set.
    pub status: String,
    /// Why it has this status.
    pub description: String,
    /// How often in a row it did not answer.
    pub ping_count: i64,
    /// When it was registered.
    pub created: i64,
    /// When it last changed.
    pub updated: i64,
}

/// A device to register.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in `Device`
pub struct NewDevice {
    pub name: String,
    pub public_address: String,
    pub floating_address: String,
    pub az: i64,
    pub kind: String,
}

/// How many devices there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All of them.
    pub total: i64,
    /// The spare ones.
    pub free: i64,
}

impl Devices {
    /// The devices of this store.
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// Devices in the order of their ids, some left out before them.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, offset: i64, most: i64) -> Result<Vec<Device>, Error> {
        self.0
            .read(move |transaction| {
                let sql = "SELECT * FROM devices ORDER BY id LIMIT $1 OFFSET $2";
                transaction.query(sql, &[&most, &offset])?.iter().map(device).collect()
            })
            .await
    }

    /// One device, if there is one of this id.
    ///
    /// # Errors
    /// The store's.
    pub async fn get(&self, id: i64) -> Result<Option<Device>, Error> {
        self.0
            .read(move |transaction| {
                transaction.query_one("SELECT * FROM devices WHERE id = $1", &[&id])?.as_ref().map(device).transpose()
            })
            .await
    }

    /// How many there are.
    ///
    /// # Errors
    /// The store's.
    pub async fn usage(&self) -> Result<Usage, Error> {
        self.0
            .read(|transaction| {
                let sql = "SELECT COUNT(*) AS total, COUNT(CASE WHEN status = $1 THEN 1 END) AS free FROM devices";
                let row = transaction.query_one(sql, &[&OFFLINE])?;
                let row = row.ok_or_else(|| Error::Invalid("a count without an answer".to_owned()))?;
                Ok(Usage { total: row.get("total")?, free: row.get("free")? })
            })
            .await
    }

    /// Registers a spare device; `None` when there is one of this name.
    ///
    /// # Errors
    /// The store's.
    pub async fn add(&self, new: NewDevice) -> Result<Option<Device>, Error> {
        let added = self.0.write(move |transaction| {
            let now = transaction.now();
            transaction
                .query_one(
                    "INSERT INTO devices (name, public_address, floating_address, az, type, status, description, \
                     ping_count, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, '', 0, $7, $7) \
                     ON CONFLICT (name) DO NOTHING RETURNING *",
                    &[&new.name, &new.public_address, &new.floating_address, &new.az, &new.kind, &OFFLINE, &now],
                )?
                .as_ref()
                .map(device)
                .transpose()
        });
        added.await
    }

    /// Sets status and description; `None` when there is no such device.
    ///
    /// # Errors
    /// The store's.
    pub async fn update(&self, id: i64, status: String, description: String) -> Result<Option<Device>, Error> {
        self.0
            .write(move |transaction| {
                let now = transaction.now();
                transaction
                    .query_one(
                        "UPDATE devices SET status = $1, description = $2, updated_at = $3 WHERE id = $4 RETURNING *",
                        &[&status, &description, &now, &id],
                    )?
                    .as_ref()
                    .map(device)
                    .transpose()
            })
            .await
    }

    /// Forgets a device; false when there is none of this id.
    ///
    /// # Errors
    /// The store's; among them that a load balancer refers to the device.
    pub async fn delete(&self, id: i64) -> Result<bool, Error> {
        let deleted =
            self.0.write(move |transaction| transaction.execute("DELETE FROM devices WHERE id = $1", &[&id])).await?;
        Ok(deleted == 1)
    }
}

/// A load balancer refers to the device.
pub(super) const fn is_in_use(error: &Error) -> bool {
    matches!(error, Error::Constraint { kind: Constraint::ForeignKey, .. })
}

fn device(row: &Row) -> Result<Device, Error> {
    Ok(Device {
        id: row.get("id")?,
        name: row.get("name")?,
        public_address: row.get("public_address")?,
        floating_address: row.get("floating_address")?,
        az: row.get("az")?,
        kind: row.get("type")?,
        status: row.get("status")?,
        description: row.get("description")?,
        ping_count: row.get("ping_count")?,
        created: row.get("created_at")?,
        updated: row.get("updated_at")?,
    })
}
