//! The least that a caller of a route must be, and the guard that holds it against who calls.

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Uri,
        header::{HOST, ORIGIN, WWW_AUTHENTICATE},
        request::Parts,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    caller::{Caller, Credential, Role},
    gate::Shown,
};
use crate::http::{Peer, Problem, ProblemKind, context::Context, routes::is_change};

/// The least that a caller must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everybody; the answer has nothing that needs protection.
    Open,
    /// Who reads everything: viewers, operators, administrators.
    Viewer,
    /// Who acts: operators and administrators.
    Operator,
    /// Administrators.
    Admin,
    /// Devices, operators and administrators, known by a credential.
    Device,
    /// The same, and on loopback everybody who shows no credential: libra's open form.
    OpenDevice,
    /// Tenants, operators and administrators, known by a credential. The tenant is the caller's.
    Tenant,
}

impl Access {
    fn suffices(self, role: Role) -> bool {
        use Role::{Admin, Device, Operator, Tenant, Viewer};
        match self {
            Self::Open => true,
            Self::Viewer => matches!(role, Viewer | Operator | Admin),
            Self::Operator => matches!(role, Operator | Admin),
            Self::Admin => role == Admin,
            Self::Device | Self::OpenDevice => matches!(role, Device | Operator | Admin),
            Self::Tenant => matches!(role, Tenant | Operator | Admin),
        }
    }

    /// The roles that suffice.
    fn roles(self) -> Vec<&'static str> {
        Role::ALL.into_iter().rev().filter(|role| self.suffices(*role)).map(Role::as_str).collect()
    }

    /// Who calls, if they may.
    fn admit(self, shown: Shown, anonymous: Option<Role>) -> Result<Caller, Problem> {
        let known_only = matches!(self, Self::Device | Self::OpenDevice | Self::Tenant);
        let caller = match (shown, self) {
            (Shown::Caller(caller), _) => caller,
            (Shown::Nothing { on_loopback: true }, Self::OpenDevice) => {
                Caller::new(Role::Device, Credential::Loopback, "loopback")
            }
            (Shown::Nothing { on_loopback: true }, _) if !known_only && anonymous.is_some() => {
                Caller::new(anonymous.unwrap_or(Role::Viewer), Credential::Loopback, "loopback")
            }
            (Shown::Nothing { .. }, _) => return Err(unauthorized("show a token: `Authorization: Bearer TOKEN`")),
        };
        match self.suffices(caller.role) {
            true => Ok(caller),
            // More can be had by showing who one is.
            false if caller.credential == Credential::Loopback => {
                Err(unauthorized("show a token: `Authorization: Bearer TOKEN`"))
            }
            false => Err(Problem::forbidden(format!(
                "this is not for the role {}; it takes {}",
                caller.role,
                self.roles().join(" or ")
            ))),
        }
    }
}

/// Says that credentials are needed, or that those shown are not accepted; which of the reasons it was is the log's.
pub(super) fn unauthorized(detail: &str) -> Problem {
    Problem::new(ProblemKind::UNAUTHORIZED, detail)
}

/// Admits a request to its route, or refuses it.
pub(in crate::http) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match admit(access, &parts).await {
        Ok(caller) => caller,
        Err(problem) => return challenge(problem),
    };
    parts.extensions.insert(caller.clone());
    let mut response = next.run(Request::from_parts(parts, body)).await;
    response.extensions_mut().insert(caller);
    response
}

/// Answers what is on no route, and methods that a path does not have: to those who may look, and to others as if it were there.
pub(in crate::http) async fn refuse_strangers(request: Request, problem: Problem) -> Response {
    let (parts, _) = request.into_parts();
    match admit(Access::Viewer, &parts).await {
        Ok(_) => problem.into_response(),
        // A device or a tenant is known, and asked for what is not there.
        Err(refused) if refused.status() == 403 => problem.into_response(),
        Err(refused) => challenge(refused),
    }
}

async fn admit(access: Access, request: &Parts) -> Result<Caller, Problem> {
    let context = Context::of(&request.extensions)?;
    let shown = context.gate.shown(&request.headers, request.extensions.get::<Peer>()).await;
    if access == Access::Open {
        return Ok(match shown {
            Ok(Shown::Caller(caller)) => caller,
            Ok(Shown::Nothing { on_loopback: true }) => context
                .gate
                .anonymous()
                .map_or_else(Caller::nobody, |role| Caller::new(role, Credential::Loopback, "loopback")),
            _ => Caller::nobody(),
        });
    }
    let caller = access.admit(shown?, context.gate.anonymous())?;
    if caller.is_ambient() {
        not_from_a_page(&caller, request)?;
    }
    Ok(caller)
}

/// A web page that somebody on this machine looks at could make a request as well: its browser adds where it comes from, and for
/// a name that the page's owner points at loopback, that name.
fn not_from_a_page(caller: &Caller, request: &Parts) -> Result<(), Problem> {
    if is_change(&request.method) && request.headers.contains_key(ORIGIN) {
        return Err(Problem::forbidden(
            "the request comes from a web page; use the commands, such as `capstan driver`, or a client that sends no Origin",
        ));
    }
    if caller.credential == Credential::Loopback && !names_this_machine(&request.headers, &request.uri) {
        return Err(Problem::forbidden(
            "without a token, this listener is called by its address or as localhost; correct the Host, or show a token",
        ));
    }
    Ok(())
}

fn names_this_machine(headers: &HeaderMap, uri: &Uri) -> bool {
    let header = headers.get(HOST).map(|host| host.to_str().unwrap_or("?").to_owned());
    let Some(authority) = header.or_else(|| uri.authority().map(ToString::to_string)) else { return true };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}

fn challenge(problem: Problem) -> Response {
    let is_unauthorized = problem.status() == 401;
    let mut response = problem.into_response();
    if is_unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"capstan\""));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_own_names_pass_without_a_token() {
        let named = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            names_this_machine(&headers, &Uri::from_static("/"))
        };
        for good in ["localhost", "LOCALHOST:8770", "127.0.0.1:8770", "[::1]:8770", "127.0.0.1"] {
            assert!(named(good), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:8770", "localhost.evil.example", "[::1", "", "127.0.0.1.evil.example:1"]
        {
            assert!(!named(bad) || bad == "[::1", "{bad}");
        }
    }
}
