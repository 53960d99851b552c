//! The exchange of tokens for certificates, their renewal and their end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use ring::hmac;
use rustls::ClientConfig;
use tokio::sync::watch;

use super::{
    Authority, AuthorityError, Certificate, Life, Request, keys,
    proof::Proven,
    records::{self, EnrolmentToken, NewToken, TokenState},
};
use crate::{
    failpoint,
    http::{Time, TokenText},
    store::{
        Error, Store, Transaction,
        events::{self, NewEvent},
    },
    tls::{self, LocalAuthority, OwnClient, Revocations, ServerCertificate},
};

/// So many certificates of one name within an hour are no accident.
pub(super) const MOST_AN_HOUR: usize = 20;
const HOUR: i64 = 3_600_000;

/// What the authority goes by.
#[derive(Clone)]
pub struct Settings {
    /// How long a certificate holds.
    pub life: Duration,
    /// The authority's certificate and key, if they are not the store's.
    pub ca: Option<(PathBuf, PathBuf)>,
    /// Names that no node may have, for their bearer is more than a node.
    pub is_reserved: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

/// The authority of a deployment and what it has certified. Cheap to clone.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub store: Store,
    pub authority: Authority,
    pub tokens: hmac::Key,
    pub settings: Settings,
    pub local: LocalAuthority,
    pub own_client: watch::Sender<Option<Arc<ClientConfig>>>,
}

/// Why nothing was certified. What a reason is called is for the log and the figures; a caller is told as little as possible.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The name is not to be a node's.
    #[error("the name {0:?} cannot be a node's: the configuration gives it other rights")]
    Name(String),
    /// The token is not accepted.
    #[error("the token is not accepted ({0})")]
    Token(&'static str),
    /// The certificate that is to be renewed is not accepted.
    #[error("the certificate is not accepted ({0})")]
    Certificate(&'static str),
    /// Too many of one name.
    #[error("too many certificates of this name were asked for")]
    TooMany,
    /// Nothing could be signed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The store's word.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Identity {
    /// The authority of a store, made if there is none yet.
    ///
    /// # Errors
    /// The store cannot be used, or a file of the settings is of no use.
    pub async fn open(store: Store, settings: Settings) -> Result<Self, keys::KeyError> {
        let (authority, tokens) = keys::open(&store, &settings).await?;
        let (own_client, config) = watch::channel(None);
        let local = LocalAuthority {
            roots: authority.chain().to_vec(),
            revocations: Revocations::default(),
            server: Some(Arc::new(ServerCertificate::default())),
            client: Some(OwnClient { name: format!("capstan-{}", uuid::Uuid::new_v4()), config }),
        };
        let identity = Self(Arc::new(Inner { store, authority, tokens, settings, local, own_client }));
        identity.refresh(&mut None).await?;
        Ok(identity)
    }

    /// The authority itself.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// What the servers of this process need of it.
    pub fn local(&self) -> LocalAuthority {
        self.0.local.clone()
    }

    /// Lets a node have a certificate: gives the token for its first start, which is good once and for this name, for so long. For one
    /// node it is always the same, so that the cloud may be asked for the node again in the same words; it is in no store.
    ///
    /// # Errors
    /// The name is reserved; the store's.
    pub async fn admit(&self, node: &str, name: &str, lasts: Duration) -> Result<TokenText, Refused> {
        if (self.0.settings.is_reserved)(name) {
            return Err(Refused::Name(name.to_owned()));
        }
        let text = self.token(node, name);
        let token = NewToken {
            id: text.id().to_owned(),
            sha256: text.sha256(),
            node: node.to_owned(),
            name: name.to_owned(),
            lasts: i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX / 2),
        };
        self.0.store.write(move |tx| token.keep(tx)).await?;
        Ok(text)
    }

    fn token(&self, node: &str, name: &str) -> TokenText {
        let tag = hmac::sign(&self.0.tokens, format!("{}:{node}{name}", node.len()).as_bytes());
        let mut bytes = [0; 39];
        bytes.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        TokenText::of(&bytes)
    }

    /// Exchanges a token for a certificate. Whoever has used a token gets the same certificate again for the same key, as long as the
    /// token is valid: the first answer may have been lost.
    ///
    /// # Errors
    /// The token is not good for this request; the store's.
    pub async fn enrol(&self, text: &str, request: &Request) -> Result<Certificate, Refused> {
        let text = TokenText::parse(text).ok_or(Refused::Token("malformed"))?;
        let id = text.id().to_owned();
        let (token, now) =
            self.0.store.read(move |tx| Ok::<_, Error>((EnrolmentToken::find(tx, &id)?, tx.now()))).await?;
        // What is not there costs the same comparison.
        let is_same = text.is(&token.as_ref().map_or_else(|| "0".repeat(64), |token| token.sha256.clone()));
        let token = token.ok_or(Refused::Token("unknown"))?;
        if !is_same {
            return Err(Refused::Token("wrong"));
        }
        if token.state == TokenState::Revoked {
            return Err(Refused::Token("revoked"));
        }
        if token.expires.0 <= now {
            return Err(Refused::Token("expired"));
        }
        if token.name != request.name {
            return Err(Refused::Token("another_name"));
        }
        let new = self.certify(request, &token.node, "enrolment", now)?;
        let key = request.key_sha256.clone();
        let outcome = self.0.store.write(move |tx| {
            let Some(token) = EnrolmentToken::find(tx, &token.id)?.filter(|token| token.expires.0 > tx.now()) else {
                return Ok(Err("unknown"));
            };
            if token.state == TokenState::Revoked {
                return Ok(Err("revoked"));
            }
            if let Some(serial) = &token.serial {
                let known = Certificate::find(tx, serial)?;
                return Ok(match known {
                    Some(known) if known.key_sha256 != key => Err("used"),
                    Some(known) if known.revoked.is_some() => Err("revoked"),
                    Some(known) => Ok(known),
                    None => Err("used"),
                });
            }
            new.insert(tx)?;
            EnrolmentToken::exchanged(tx, &token.id, &new.serial)?;
            note(tx, &new)?;
            Ok::<_, Error>(Ok(new.clone()))
        });
        let certificate = outcome.await?.map_err(Refused::Token)?;
        failpoint::reached("identity.enrol.recorded");
        Ok(certificate)
    }

    /// Gives a new certificate to whoever shows an old one and proves to have its key.
    ///
    /// # Errors
    /// The old one is none of this authority, expired, revoked, of another name, or without proof; the store's.
    pub async fn renew(&self, old: &str, request: &Request, signature: &[u8]) -> Result<Certificate, Refused> {
        let now = self.0.store.read(|tx| Ok::<_, Error>(tx.now())).await?;
        let proven = Proven::of(&self.0.authority, old, request, signature, now).map_err(Refused::Certificate)?;
        let new = self.certify(request, "", "renewal", now)?;
        let outcome = self.0.store.write(move |tx| {
            let known = Certificate::of(tx, &proven.name)?;
            let Some(first) = known.first() else { return Ok(Err(Refused::Certificate("unknown"))) };
            let shown = known.iter().find(|one| one.serial == proven.serial);
            let is_revoked = match shown {
                Some(shown) => shown.revoked.is_some(),
                // The store is older than the certificate: it was brought back from a backup. Its node is known and goes on, unless
                // that node was expelled.
                None => known.iter().any(|one| one.revoked.is_some()),
            };
            if is_revoked {
                return Ok(Err(Refused::Certificate("revoked")));
            }
            // The answer may have been lost: the same key gets the same again.
            let again = known.iter().rfind(|one| one.key_sha256 == new.key_sha256 && one.origin == "renewal");
            if let Some(again) = again.filter(|one| one.revoked.is_none() && one.not_after.0 > now) {
                return Ok(Ok(again.clone()));
            }
            if known.iter().filter(|one| one.issued.0 > now - HOUR).count() >= MOST_AN_HOUR {
                return Ok(Err(Refused::TooMany));
            }
            let node = first.node.clone();
            if shown.is_none() {
                Certificate {
                    serial: proven.serial.clone(),
                    node: node.clone(),
                    name: proven.name.clone(),
                    key_sha256: proven.key_sha256.clone(),
                    pem: proven.pem.clone(),
                    origin: "recorded".to_owned(),
                    issued: Time(now),
                    not_after: Time(proven.not_after),
                    revoked: None,
                    reason: None,
                }
                .insert(tx)?;
            }
            let new = Certificate { node, ..new.clone() };
            new.insert(tx)?;
            note(tx, &new)?;
            Ok::<_, Error>(Ok(new))
        });
        let certificate = outcome.await??;
        failpoint::reached("identity.renew.recorded");
        Ok(certificate)
    }

    fn certify(&self, request: &Request, node: &str, origin: &str, now: i64) -> Result<Certificate, AuthorityError> {
        let life = Life { from: now, until: now.saturating_add(self.life()) };
        let (pem, der) = self.0.authority.certify(request, life)?;
        Ok(Certificate {
            serial: tls::serial(&der).unwrap_or_default(),
            node: node.to_owned(),
            name: request.name.clone(),
            key_sha256: request.key_sha256.clone(),
            pem,
            origin: origin.to_owned(),
            issued: Time(now),
            not_after: Time(life.until),
            revoked: None,
            reason: None,
        })
    }

    pub(super) fn life(&self) -> i64 {
        i64::try_from(self.0.settings.life.as_millis()).unwrap_or(i64::MAX / 2)
    }

    /// Makes a certificate useless at once: its connections end and no new one is accepted.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke(&self, serial: &str, reason: &str) -> Result<Option<Certificate>, Error> {
        let (serial, reason) = (serial.to_owned(), reason.to_owned());
        let revoked = self
            .0
            .store
            .write(move |tx| {
                let revoked = Certificate::revoke(tx, &serial, &reason)?;
                if let Some(one) = &revoked {
                    let detail = serde_json::json!({ "serial": one.serial, "name": one.name, "reason": one.reason });
                    events::append(
                        tx,
                        &NewEvent::new(format!("node/{}", one.node), "certificate_revoked", detail.to_string()),
                    )?;
                }
                Ok::<_, Error>(revoked)
            })
            .await?;
        self.refresh(&mut None).await?;
        Ok(revoked)
    }

    /// Certificates in the order in which they were made, after a key; of one name, if it is given.
    pub(super) async fn list(
        &self,
        name: Option<String>,
        after: (i64, String),
        most: i64,
    ) -> Result<Vec<Certificate>, Error> {
        self.0.store.read(move |tx| Certificate::list(tx, name.as_deref(), (after.0, &after.1), most)).await
    }

    /// Makes a token useless that was not exchanged yet. One that was is answered as it is: its certificate is what can be revoked.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke_token(&self, id: &str, reason: &str) -> Result<Option<EnrolmentToken>, Error> {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        self.0
            .store
            .write(move |tx| {
                let is_new = EnrolmentToken::revoke(tx, &id, &reason)?;
                let token = EnrolmentToken::find(tx, &id)?;
                if let Some(token) = token.as_ref().filter(|_| is_new) {
                    let detail = serde_json::json!({ "token": token.id, "name": token.name, "reason": reason });
                    events::append(
                        tx,
                        &NewEvent::new(format!("node/{}", token.node), "token_revoked", detail.to_string()),
                    )?;
                }
                Ok(token)
            })
            .await
    }

    /// Tokens in the order in which they were made, after a key; of one name and in one state, if they are given.
    pub(super) async fn tokens(
        &self,
        name: Option<String>,
        state: Option<TokenState>,
        after: (i64, String),
        most: i64,
    ) -> Result<Vec<EnrolmentToken>, Error> {
        self.0.store.read(move |tx| EnrolmentToken::list(tx, (name.as_deref(), state), (after.0, &after.1), most)).await
    }

    /// Reads the list of revoked certificates, if it is not as it was when `seen` was written.
    pub(super) async fn refresh(&self, seen: &mut Option<(i64, i64)>) -> Result<(), Error> {
        let before = *seen;
        let read = self.0.store.read(move |tx| {
            let state = records::revocations(tx)?;
            let list = if before == Some(state) { None } else { Some(records::revoked(tx)?) };
            Ok::<_, Error>((state, list))
        });
        let (state, list) = read.await?;
        if let Some(list) = list {
            self.0.local.revocations.replace(list.into_iter().collect());
        }
        *seen = Some(state);
        Ok(())
    }
}

fn note(tx: &mut Transaction<'_>, new: &Certificate) -> Result<(), Error> {
    let detail =
        serde_json::json!({ "serial": new.serial, "name": new.name, "not_after": new.not_after, "by": new.origin });
    events::append(tx, &NewEvent::new(format!("node/{}", new.node), "certified", detail.to_string()))
}
