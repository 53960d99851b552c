//! The room's tables and the questions that are asked of them.

use serde::{Deserialize, Serialize};

use crate::{
    http::Time,
    store::{Error, Migration, Row, Transaction},
};

/// The room's tables, in the order in which they came.
pub const MIGRATIONS: &[Migration] = &[
    Migration { room: "identity", version: 1, sql: include_str!("migrations/1.sql") },
    Migration { room: "identity", version: 2, sql: include_str!("migrations/2.sql") },
];

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

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// It can be exchanged.
    Unused,
    /// It was exchanged for a certificate.
    Used,
    /// Somebody revoked it before it was used.
    Revoked,
    /// Nobody used it in time.
    Expired,
}

/// An enrolment token that was given for a node, as it is kept: without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnrolmentToken {
    /// The part of the text that may be shown.
    pub id: String,
    /// SHA-256 of the text; shown to nobody.
    #[serde(skip)]
    pub sha256: String,
    /// Id of the node that it is for.
    pub node: String,
    /// The name that it is good for.
    pub name: String,
    /// What became of it.
    pub state: TokenState,
    /// When it was made.
    pub created: Time,
    /// Until when it is good.
    pub expires: Time,
    /// The certificate that it was exchanged for.
    pub serial: Option<String>,
    /// When it was revoked.
    pub revoked: Option<Time>,
    /// Why it was revoked.
    pub reason: Option<String>,
}

/// A token that is to be kept.
#[derive(Clone, Debug)]
pub(super) struct NewToken {
    pub id: String,
    pub sha256: String,
    pub node: String,
    pub name: String,
    /// Milliseconds that it is good from now on.
    pub lasts: i64,
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

impl TokenState {
    /// The word in the store's questions and on the wire.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Used => "used",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

impl NewToken {
    /// Keeps it; one that is kept and not used yet is good for longer, and one that is revoked stays so.
    pub fn keep(&self, tx: &mut Transaction<'_>) -> Result<(), Error> {
        let (now, expires) = (tx.now(), tx.now().saturating_add(self.lasts));
        tx.execute(
            "INSERT INTO identity_tokens (id, sha256, node, name, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE identity_tokens.serial IS NULL",
            &[&self.id, &self.sha256, &self.node, &self.name, &now, &expires],
        )
        .map(drop)
    }
}

impl EnrolmentToken {
    pub(super) fn find(tx: &mut Transaction<'_>, id: &str) -> Result<Option<Self>, Error> {
        let now = tx.now();
        let row = tx.query_one("SELECT * FROM identity_tokens WHERE id = $1", &[&id])?;
        row.map(|row| Self::from_row(&row, now)).transpose()
    }

    /// In the order in which they were made, after a key; of one name and in one state, if they are given; at most so many.
    pub(super) fn list(
        tx: &mut Transaction<'_>,
        (name, state): (Option<&str>, Option<TokenState>),
        (after, id): (i64, &str),
        most: i64,
    ) -> Result<Vec<Self>, Error> {
        let (now, state) = (tx.now(), state.map(TokenState::as_str));
        let rows = tx.query(
            "SELECT * FROM identity_tokens WHERE (created_at > $1 OR (created_at = $1 AND id > $2)) \
             AND (CAST($3 AS TEXT) IS NULL OR name = $3) \
             AND (CAST($4 AS TEXT) IS NULL OR $4 = CASE WHEN serial IS NOT NULL THEN 'used' \
             WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= $5 THEN 'expired' ELSE 'unused' END) \
             ORDER BY created_at, id LIMIT $6",
            &[&after, &id, &name, &state, &now, &most],
        )?;
        rows.iter().map(|row| Self::from_row(row, now)).collect()
    }

    pub(super) fn exchanged(tx: &mut Transaction<'_>, id: &str, serial: &str) -> Result<(), Error> {
        tx.execute("UPDATE identity_tokens SET serial = $1 WHERE id = $2", &[&serial, &id]).map(drop)
    }

    /// Makes it useless from now on, unless it is used or revoked already; whether it did.
    pub(super) fn revoke(tx: &mut Transaction<'_>, id: &str, reason: &str) -> Result<bool, Error> {
        let now = tx.now();
        let changed = tx.execute(
            "UPDATE identity_tokens SET revoked_at = $1, reason = $2 WHERE id = $3 AND serial IS NULL AND revoked_at IS NULL",
            &[&now, &reason, &id],
        )?;
        Ok(changed == 1)
    }

    fn from_row(row: &Row, now: i64) -> Result<Self, Error> {
        let (serial, expires): (Option<String>, i64) = (row.get("serial")?, row.get("expires_at")?);
        let revoked: Option<i64> = row.get("revoked_at")?;
        let state = match (&serial, revoked) {
            (Some(_), _) => TokenState::Used,
            (None, Some(_)) => TokenState::Revoked,
            (None, None) if expires <= now => TokenState::Expired,
            (None, None) => TokenState::Unused,
        };
        Ok(Self {
            id: row.get("id")?,
            sha256: row.get("sha256")?,
            node: row.get("node")?,
            name: row.get("name")?,
            state,
            created: Time(row.get("created_at")?),
            expires: Time(expires),
            serial,
            revoked: revoked.map(Time),
            reason: row.get("reason")?,
        })
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
