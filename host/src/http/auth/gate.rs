//! From what a request shows to who calls.

use std::{collections::BTreeMap, time::Instant};

use axum::http::HeaderMap;
use tracing::warn;

use super::{
    OwnToken, TokenText, Tokens,
    access::unauthorized,
    attempts::Attempts,
    bearer,
    caller::{Caller, Credential, Role},
    tokens::Verdict,
};
use crate::{
    http::{Peer, Problem, ProblemKind, peer::PeerKey},
    telemetry::{Figures, names},
};

/// Which names in client certificates have which role.
pub type CertificateRoles = BTreeMap<String, Role>;

/// Who may call a daemon, and as what.
pub struct Gate {
    tokens: Option<Tokens>,
    own: Option<OwnToken>,
    certificates: CertificateRoles,
    anonymous: Option<Role>,
    user: u32,
    attempts: Attempts,
    figures: Figures,
}

/// What a request shows.
pub(super) enum Shown {
    /// A credential that is good.
    Caller(Caller),
    /// None.
    Nothing {
        /// On a listener of loopback.
        on_loopback: bool,
    },
}

impl Gate {
    /// A gate that only the Unix socket passes.
    pub fn new(figures: Figures) -> Self {
        Self {
            tokens: None,
            own: None,
            certificates: CertificateRoles::new(),
            anonymous: None,
            user: rustix::process::geteuid().as_raw(),
            attempts: Attempts::default(),
            figures,
        }
    }

    /// Accepts the tokens of a store.
    #[must_use]
    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Accepts the daemon's own token, as a device.
    #[must_use]
    pub fn own_token(mut self, own: OwnToken) -> Self {
        self.own = Some(own);
        self
    }

    /// Accepts client certificates of these names.
    #[must_use]
    pub fn certificates(mut self, roles: CertificateRoles) -> Self {
        self.certificates = roles;
        self
    }

    /// What a request without credentials may do on loopback.
    #[must_use]
    pub fn on_loopback(mut self, role: Option<Role>) -> Self {
        self.anonymous = role;
        self
    }

    pub(super) const fn anonymous(&self) -> Option<Role> {
        self.anonymous
    }

    /// Looks at what a request shows. A token counts before anything else; one that is refused is refused on every listener.
    pub(super) async fn shown(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Shown, Problem> {
        let Some(peer) = peer else { return Ok(Shown::Nothing { on_loopback: false }) };
        match bearer::presented(headers) {
            Ok(None) => Ok(self.of_connection(peer)),
            presented => self.of_token(presented.ok().flatten(), peer).await.map(Shown::Caller),
        }
    }

    fn of_connection(&self, peer: &Peer) -> Shown {
        match peer {
            // The socket's mode has let in its owner and its group alone.
            Peer::Unix { user } => {
                let role = if *user == 0 || *user == self.user { Role::Admin } else { Role::Operator };
                let name = if *user == 0 { "root (uid 0)".to_owned() } else { format!("uid {user}") };
                Shown::Caller(Caller::new(role, Credential::Socket, name))
            }
            Peer::Tcp { certificate, on_loopback, .. } => {
                let known = certificate.as_ref().and_then(|name| Some((name, *self.certificates.get(name)?)));
                match known {
                    Some((name, role)) => {
                        Shown::Caller(Caller::new(role, Credential::Certificate, format!("certificate {name}")))
                    }
                    None => Shown::Nothing { on_loopback: *on_loopback },
                }
            }
        }
    }

    async fn of_token(&self, token: Option<TokenText>, peer: &Peer) -> Result<Caller, Problem> {
        let (key, now) = (peer.key(), Instant::now());
        if let Some(wait) = self.attempts.wait(key, token.as_ref().map(TokenText::id), now) {
            self.count("too_many");
            let detail = "too many tokens that are not accepted came from there";
            return Err(Problem::new(ProblemKind::TOO_MANY_REQUESTS, detail).retry_after(wait));
        }
        let Some(token) = token else { return Err(self.refuse(key, peer, None, "malformed", now)) };
        if self.own.as_ref().is_some_and(|own| own.is(&token)) {
            return Ok(Caller::new(Role::Device, Credential::Token, "token of this daemon"));
        }
        let Some(tokens) = &self.tokens else { return Err(self.refuse(key, peer, Some(&token), "unknown", now)) };
        match tokens.verdict(&token).await? {
            Verdict::Good { role, tenant, name } => {
                self.attempts.worked(key, token.id());
                let name = format!("token {}{}", token.id(), name.map(|name| format!(" ({name})")).unwrap_or_default());
                Ok(Caller { tenant, ..Caller::new(role, Credential::Token, name) })
            }
            Verdict::Refused(reason) => Err(self.refuse(key, peer, Some(&token), reason, now)),
        }
    }

    /// The caller is told nothing of the reason: the same answer whether a token is unknown, wrong, expired or revoked.
    fn refuse(
        &self,
        key: PeerKey,
        peer: &Peer,
        token: Option<&TokenText>,
        reason: &'static str,
        now: Instant,
    ) -> Problem {
        let is_own_user = matches!(peer, Peer::Unix { user } if *user == 0 || *user == self.user);
        if !is_own_user {
            self.attempts.failed(key, now);
        }
        self.count(reason);
        warn!(%peer, token = token.map_or("-", TokenText::id), reason, "a token is not accepted");
        unauthorized("the token is not accepted")
    }

    fn count(&self, reason: &'static str) {
        self.figures.counter(&names::HTTP_REFUSED_TOKENS, [reason]).increment();
    }
}
