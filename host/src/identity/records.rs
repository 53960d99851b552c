//! The room's tables and the questions that are asked of them.

use serde::Serialize;

use crate::{
    http::Time,
    store::{Error, Migration, Row, Transaction},
};

/// The room's tables, in the order in which they came.
pub const MIGRATIONS: &[Migration] =
    &[Migration { room: "identity", version: 1, sql: include_str!("migrations/1.sql") }];

/// A certificate that was given to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// In hexadecimal digits.
    pub serial: String,
    /// Id of the node that its token was for.
    pub node: String,
    /// The node's name: the certificate's common name.
    pub name: String,
    /// SHA-256 of its public key, in hexadecimal digits.
    pub key_sha256: String,
    /// The certificate in PEM; not in lists.
    #[serde(skip)]
    pub pem: String,
    /// `enrolment`, `renewal`, or `recorded` for one that was shown here and that this store did not know.
    pub origin: String,
    /// When it was made.
    pub issued: Time,
    /// When it ends.
    pub not_after: Time,
    /// When it was revoked.
    pub revoked: Option<Time>,
    /// Why it was revoked.
    pub reason: Option<String>,
}

/// A token as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub id: String,
    pub sha256: String,
    pub node: String,
    pub name: String,
    pub expires: i64,
    /// The certificate that it was exchanged for.
    pub serial: Option<String>,
}

/// Everything that was given to the node of this name is of no use from now on, a token that it has not used among it. For whoever
/// deletes a node, in the transaction that does.
///
/// # Errors
/// The store's.
pub fn expel(tx: &mut Transaction<'_>, name: &str, reason: &str) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "UPDATE identity_certificates SET revoked_at = $1, reason = $2 WHERE name = $3 AND revoked_at IS NULL",
        &[&now, &reason, &name],
    )?;
    tx.execute("DELETE FROM identity_tokens WHERE name = $1", &[&name]).map(drop)
}

/// The secret, and the certificate that belongs to it.
pub(super) fn key(tx: &mut Transaction<'_>, purpose: &str) -> Result<Option<(String, Option<String>)>, Error> {
    let row = tx.query_one("SELECT secret, certificate FROM identity_keys WHERE purpose = $1", &[&purpose])?;
    row.map(|row| Ok((row.get("secret")?, row.get("certificate")?))).transpose()
}

/// Keeps a secret, unless there is one already.
pub(super) fn keep_key(
    tx: &mut Transaction<'_>,
    purpose: &str,
    secret: &str,
    certificate: Option<&str>,
) -> Result<(), Error> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO identity_keys (purpose, secret, certificate, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (purpose) DO NOTHING",
        &[&purpose, &secret, &certificate, &now],
    )
    .map(drop)
}

impl Token {
    pub fn find(tx: &mut Transaction<'_>, id: &str) -> Result<Option<Self>, Error> {
        let row = tx.query_one("SELECT * FROM identity_tokens WHERE id = $1", &[&id])?;
        row.map(|row| {
            Ok(Self {
                id: row.get("id")?,
                sha256: row.get("sha256")?,
                node: row.get("node")?,
                name: row.get("name")?,
                expires: row.get("expires_at")?,
                serial: row.get("serial")?,
            })
        })
        .transpose()
    }

    /// Keeps it; one that is kept and not used yet is good for longer.
    pub fn keep(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        let now = tx.now();
        tx.execute(
            "INSERT INTO identity_tokens (id, sha256, node, name, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE identity_tokens.serial IS NULL",
            &[&self.id, &self.sha256, &self.node, &self.name, &now, &self.expires],
        )
        .map(drop)
    }

    pub fn exchanged(tx: &mut Transaction<'_>, id: &str, serial: &str) -> Result<(), Error> {
        tx.execute("UPDATE identity_tokens SET serial = $1 WHERE id = $2", &[&serial, &id]).map(drop)
    }
}

impl Certificate {
    pub(super) fn find(tx: &mut Transaction<'_>, serial: &str) -> Result<Option<Self>, Error> {
        let row = tx.query_one("SELECT * FROM identity_certificates WHERE serial = $1", &[&serial])?;
        row.as_ref().map(read).transpose()
    }

    /// All of a name.
    pub(super) fn of(tx: &mut Transaction<'_>, name: &str) -> Result<Vec<Self>, Error> {
        let rows =
            tx.query("SELECT * FROM identity_certificates WHERE name = $1 ORDER BY issued_at, serial", &[&name])?;
        rows.iter().map(read).collect()
    }

    /// In the order in which they were made, after a key; at most so many.
    pub(super) fn list(
        tx: &mut Transaction<'_>,
        name: Option<&str>,
        (after, serial): (i64, &str),
        most: i64,
    ) -> Result<Vec<Self>, Error> {
        let rows = tx.query(
            "SELECT * FROM identity_certificates WHERE (issued_at > $1 OR (issued_at = $1 AND serial > $2)) \
             AND (CAST($3 AS TEXT) IS NULL OR name = $3) ORDER BY issued_at, serial LIMIT $4",
            &[&after, &serial, &name, &most],
        )?;
        rows.iter().map(read).collect()
    }

    pub(super) fn insert(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        tx.execute(
            "INSERT INTO identity_certificates (serial, node, name, key_sha256, certificate, origin, issued_at, not_after) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &self.serial,
                &self.node,
                &self.name,
                &self.key_sha256,
                &self.pem,
                &self.origin,
                &self.issued.0,
                &self.not_after.0,
            ],
        )
        .map(drop)
    }

    /// Makes it useless from now on; one that is so already stays as it is.
    pub(super) fn revoke(tx: &mut Transaction<'_>, serial: &str, reason: &str) -> Result<Option<Self>, Error> {
        let now = tx.now();
        let row = tx.query_one(
            "UPDATE identity_certificates SET reason = CASE WHEN revoked_at IS NULL THEN $1 ELSE reason END, \
             revoked_at = COALESCE(revoked_at, $2) WHERE serial = $3 RETURNING *",
            &[&reason, &now, &serial],
        )?;
        row.as_ref().map(read).transpose()
    }
}

/// How many are revoked, and when the last one was: different whenever the list is.
pub(super) fn revocations(tx: &mut Transaction<'_>) -> Result<(i64, i64), Error> {
    let row = tx.query_one(
        "SELECT COUNT(*) AS many, COALESCE(MAX(revoked_at), 0) AS latest FROM identity_certificates WHERE revoked_at IS NOT NULL",
        &[],
    )?;
    row.map_or(Ok((0, 0)), |row| Ok((row.get("many")?, row.get("latest")?)))
}

/// Serial numbers of all that are revoked.
pub(super) fn revoked(tx: &mut Transaction<'_>) -> Result<Vec<String>, Error> {
    let rows = tx.query("SELECT serial FROM identity_certificates WHERE revoked_at IS NOT NULL", &[])?;
    rows.iter().map(|row| row.get("serial")).collect()
}

/// Forgets what ended before a time.
pub(super) fn forget(tx: &mut Transaction<'_>, before: i64) -> Result<(), Error> {
    tx.execute("DELETE FROM identity_certificates WHERE not_after < $1", &[&before])?;
    tx.execute("DELETE FROM identity_tokens WHERE expires_at < $1", &[&before]).map(drop)
}

fn read(row: &Row) -> Result<Certificate, Error> {
    Ok(Certificate {
        serial: row.get("serial")?,
        node: row.get("node")?,
        name: row.get("name")?,
        key_sha256: row.get("key_sha256")?,
        pem: row.get("certificate")?,
        origin: row.get("origin")?,
        issued: Time(row.get("issued_at")?),
        not_after: Time(row.get("not_after")?),
        revoked: row.get::<Option<i64>>("revoked_at")?.map(Time),
        reason: row.get("reason")?,
    })
}
