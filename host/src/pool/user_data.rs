//! What a node is told at its first start: the text of its stock's file, or a document of our own, with the node's name and the token
//! that it exchanges for its certificate.

use std::time::Duration;

use capstan_plugin_api::Secret;

use super::{Pool, records::Node};
use crate::{
    identity::{Identity, Refused},
    store::Error,
};

/// What a node is told where no file says otherwise: a file for conf.d of its worker.
const DEFAULT: &str = r#"# For the node @NAME@, made at its first start. The token is good once.
[worker]
function = "@NAME@"

[identity]
enrol_url = "@URL@"
token = "@TOKEN@"
ca_fingerprint = "@CA_FINGERPRINT@"
"#;

/// How nodes come to their certificates.
pub struct Enrolment {
    /// Who makes the tokens.
    pub identity: Identity,
    /// Where nodes reach it.
    pub url: String,
    /// How long after the time of its build a node may still use its token.
    pub slack: Duration,
}

/// Whether a text asks for something that only an authority with an address can give.
#[must_use]
pub fn asks_for_enrolment(text: &str) -> bool {
    ["@TOKEN@", "@URL@", "@CA@", "@CA_FINGERPRINT@"].iter().any(|word| text.contains(word))
}

impl Pool {
    /// What this node is told. The same node is told the same, however often it is asked for.
    pub(super) async fn user_data(&self, node: &Node) -> Result<Secret, Error> {
        let settings = self.settings();
        let file = settings.user_data.get(&node.stock);
        let (text, enrolment) = match (file, &self.inner.enrolment) {
            (None, None) => return Ok(Secret::default()),
            (None, Some(enrolment)) => (DEFAULT, Some(enrolment)),
            (Some(file), enrolment) => (file.expose(), enrolment.as_ref()),
        };
        let text = text.replace("@NAME@", &node.name);
        let Some(enrolment) = enrolment.filter(|_| asks_for_enrolment(&text)) else { return Ok(Secret::new(text)) };
        let authority = enrolment.identity.authority();
        let text = text
            .replace("@URL@", &enrolment.url)
            .replace("@CA@", authority.pem().trim_end())
            .replace("@CA_FINGERPRINT@", &authority.fingerprint());
        if !text.contains("@TOKEN@") {
            return Ok(Secret::new(text));
        }
        let build = settings.stock(&node.stock).map(|stock| stock.build_timeout).unwrap_or_default();
        // A create whose answer was lost may be repeated after a search, and the node's own start comes after that.
        let lasts = build + settings.search_time + enrolment.slack;
        match enrolment.identity.admit(&node.id, &node.name, lasts).await {
            Ok(token) => Ok(Secret::new(text.replace("@TOKEN@", token.expose()))),
            Err(Refused::Store(error)) => Err(error),
            Err(refused) => Err(Error::Invalid(format!("the node {} gets no token: {refused}", node.name))),
        }
    }
}
