//! The tokens of a deployment, in its store: of each the SHA-256, never the token.

use serde::Serialize;

use super::{
    bearer::{TokenText, is_equal},
    caller::{Caller, Role},
};
use crate::{
    http::{Problem, time::Time},
    store::{Error, Migration, Row, Store},
};

/// Tables of this room.
pub fn migrations() -> Vec<Migration> {
    vec![Migration { room: "auth", version: 1, sql: include_str!("tokens.sql") }]
}

/// A use is written down at most this often, in milliseconds.
const USE_NOTED_EVERY: i64 = 60_000;

/// The tokens of a store.
#[derive(Clone)]
pub struct Tokens(Store);

/// What is known of a token.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Token {
    pub id: String,
    pub role: Role,
    pub tenant: Option<String>,
    pub name: Option<String>,
    /// `valid`, `expired` or `revoked`.
    pub state: &'static str,
    pub created: Time,
    pub created_by: String,
    pub expires: Option<Time>,
    pub revoked: Option<Time>,
    pub last_used: Option<Time>,
}

/// What a token shall be.
#[derive(Clone, Debug)]
pub(super) struct NewToken {
    pub role: Role,
    pub tenant: Option<String>,
    pub name: Option<String>,
    /// Milliseconds from now.
    pub lasts: Option<i64>,
}

/// What comes of a token that is shown.
pub(super) enum Verdict {
    Good { role: Role, tenant: Option<String>, name: Option<String> },
    Refused(&'static str),
}

impl Tokens {
    /// The tokens of this store.
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// Whether a token is good now. The store is asked each time: a token that is revoked is of no use from then on, on every daemon.
    pub(super) async fn verdict(&self, token: &TokenText) -> Result<Verdict, Problem> {
        let id = token.id().to_owned();
        let (row, now) = self
            .0
            .read(move |transaction| {
                let row = transaction.query_one("SELECT * FROM tokens WHERE id = $1", &[&id])?;
                Ok::<_, Error>((row, transaction.now()))
            })
            .await?;
        // What is not there costs the same comparison.
        let kept = row.as_ref().map(|row| row.get::<String>("sha256")).transpose()?.unwrap_or_else(|| "0".repeat(64));
        let is_same = is_equal(&kept, &token.sha256());
        let Some(row) = row else { return Ok(Verdict::Refused("unknown")) };
        let known = read(&row, now)?;
        match (is_same, known.state) {
            (false, _) => Ok(Verdict::Refused("wrong")),
            (true, "valid") => {
                if known.last_used.is_none_or(|used| now - used.0 > USE_NOTED_EVERY) {
                    self.note_use(known.id);
                }
                Ok(Verdict::Good { role: known.role, tenant: known.tenant, name: known.name })
            }
            (true, state) => Ok(Verdict::Refused(state)),
        }
    }

    /// Nobody waits for it, and it may be lost.
    fn note_use(&self, id: String) {
        let store = self.0.clone();
        tokio::spawn(async move {
            let noted = store.write(move |transaction| {
                let now = transaction.now();
                transaction.execute("UPDATE tokens SET last_used_at = $1 WHERE id = $2", &[&now, &id])
            });
            if let Err(error) = noted.await {
                tracing::debug!(%error, "the use of a token is not written down");
            }
        });
    }

    /// Makes one. The text is given once and is nowhere afterwards.
    pub(super) async fn make(&self, new: NewToken, by: &Caller) -> Result<(TokenText, Token), Problem> {
        let text = TokenText::random().map_err(|_| Problem::internal("the system gives no random numbers"))?;
        let (id, sha256, by) = (text.id().to_owned(), text.sha256(), by.name.clone());
        let token = self
            .0
            .write(move |transaction| {
                let now = transaction.now();
                let expires = new.lasts.map(|lasts| now.saturating_add(lasts));
                let row = transaction.query_one(
                    "INSERT INTO tokens (id, sha256, role, tenant, name, created_at, created_by, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING *",
                    &[&id, &sha256, &new.role.as_str(), &new.tenant, &new.name, &now, &by, &expires],
                )?;
                row.map(|row| read(&row, now)).transpose()?.ok_or_else(|| Error::NotFound("token".to_owned()))
            })
            .await?;
        Ok((text, token))
    }

    /// One token.
    pub(super) async fn show(&self, id: String) -> Result<Token, Problem> {
        let found = self
            .0
            .read(move |transaction| {
                let now = transaction.now();
                let row = transaction.query_one("SELECT * FROM tokens WHERE id = $1", &[&id])?;
                row.map(|row| read(&row, now)).transpose()
            })
            .await?;
        found.ok_or_else(no_such_token)
    }

    /// Tokens in the order of their making, those after a key, newest last.
    pub(super) async fn list(
        &self,
        role: Option<Role>,
        tenant: Option<String>,
        after: Option<(i64, String)>,
        most: i64,
    ) -> Result<Vec<Token>, Problem> {
        let role = role.map(Role::as_str);
        let (at, id) = after.unwrap_or((i64::MIN, String::new()));
        let found = self.0.read(move |transaction| {
            let now = transaction.now();
            let rows = transaction.query(
                "SELECT * FROM tokens WHERE (created_at > $1 OR (created_at = $1 AND id > $2)) \
                 AND (CAST($3 AS TEXT) IS NULL OR role = $3) AND (CAST($4 AS TEXT) IS NULL OR tenant = $4) \
                 ORDER BY created_at, id LIMIT $5",
                &[&at, &id, &role, &tenant, &most],
            )?;
            rows.iter().map(|row| read(row, now)).collect::<Result<Vec<_>, Error>>()
        });
        Ok(found.await?)
    }

    /// Makes a token useless from now on. It stays in the list.
    pub(super) async fn revoke(&self, id: String) -> Result<Token, Problem> {
        let found = self.0.write(move |transaction| {
            let now = transaction.now();
            let row = transaction.query_one(
                "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $1) WHERE id = $2 RETURNING *",
                &[&now, &id],
            )?;
            row.map(|row| read(&row, now)).transpose()
        });
        found.await?.ok_or_else(no_such_token)
    }
}

fn no_such_token() -> Problem {
    Problem::not_found("there is no token of this id; `capstan token list` shows all")
}

fn read(row: &Row, now: i64) -> Result<Token, Error> {
    let role: String = row.get("role")?;
    let (expires, revoked): (Option<i64>, Option<i64>) = (row.get("expires_at")?, row.get("revoked_at")?);
    let state = match (revoked, expires) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if expires <= now => "expired",
        _ => "valid",
    };
    Ok(Token {
        id: row.get("id")?,
        role: Role::from_name(&role).ok_or_else(|| Error::Invalid(format!("found a token of the role {role:?}")))?,
        tenant: row.get("tenant")?,
        name: row.get("name")?,
        state,
        created: Time(row.get("created_at")?),
        created_by: row.get("created_by")?,
        expires: expires.map(Time),
        revoked: revoked.map(Time),
        last_used: row.get::<Option<i64>>("last_used_at")?.map(Time),
    })
}
