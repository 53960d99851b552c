//! How long a caller waits for long work: `Prefer: wait=N` or `?wait=N`, in seconds.

use std::time::Duration;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, Uri, request::Parts},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::http::{Problem, context::Context};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The longest wait; callers ask again.
const LONGEST: Duration = Duration::from_secs(120);

/// How long a caller waits for long work; nothing unless it says so. Never longer than a request may take, and not beyond the
/// listeners' end.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// The time.
    pub time: Duration,
    /// It was said as a preference, which the answer confirms.
    pub is_preference: bool,
    ending: Option<watch::Receiver<bool>>,
}

impl<S: Sync> FromRequestParts<S> for Wait {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let context = Context::of(&parts.extensions)?;
        let asked = Self::of(&parts.uri, &parts.headers)?;
        let limit = context.limits.request_timeout.saturating_sub(Duration::from_secs(1));
        Ok(Self { time: asked.time.min(limit), ending: Some(context.ending.clone()), ..asked })
    }
}

impl Wait {
    /// Out of an address and headers. A parameter counts before a preference.
    ///
    /// # Errors
    /// 400 for a parameter that is no number of seconds up to the longest wait. A preference is only one: what cannot be read is passed
    /// over, and one that is too long is cut.
    pub fn of(uri: &Uri, headers: &HeaderMap) -> Result<Self, Problem> {
        let parameters = uri.query().unwrap_or_default().split('&');
        if let Some(text) = parameters.into_iter().find_map(|pair| pair.strip_prefix("wait=")) {
            let seconds = text.parse().ok().map(Duration::from_secs).filter(|time| *time <= LONGEST);
            let time = seconds.ok_or_else(|| {
                let (found, most) = (text.chars().take(80).collect::<String>(), LONGEST.as_secs());
                let detail =
                    format!("the parameter wait: found {found:?}; expected a whole number of seconds from 0 to {most}");
                Problem::bad_request(detail).with("parameter", json!("wait"))
            })?;
            return Ok(Self { time, ..Self::default() });
        }
        let preferred = headers
            .get_all(PREFER)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([',', ';']))
            .find_map(|one| one.trim().strip_prefix("wait=")?.trim_matches('"').parse::<u32>().ok());
        Ok(preferred.map_or_else(Self::default, |seconds| Self {
            time: LONGEST.min(Duration::from_secs(seconds.into())),
            is_preference: true,
            ..Self::default()
        }))
    }

    /// Waits so long, or until the listeners end.
    pub(super) async fn pause(&mut self, time: Duration) {
        let rest = sleep(time);
        match &mut self.ending {
            None => rest.await,
            Some(ending) => tokio::select! {
                () = rest => {}
                _ = ending.wait_for(|ends| *ends) => self.time = Duration::ZERO,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_parameter_or_a_preference_and_bounded() {
        let of = |query: &str, prefer: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, prefer.parse().unwrap());
            Wait::of(&format!("/x?{query}").parse().unwrap(), &headers)
                .map(|wait| (wait.time.as_secs(), wait.is_preference))
        };
        assert_eq!(of("", "respond-async, wait=10").unwrap(), (10, true));
        assert_eq!(of("wait=5", "wait=10").unwrap(), (5, false));
        assert_eq!(of("wait=120", "").unwrap(), (120, false));
        assert_eq!(of("", "wait=4000000000").unwrap(), (120, true));
        assert_eq!(of("", "wait=soon").unwrap(), (0, false));
        assert_eq!(of("wait=soon", "").unwrap_err().status(), 400);
        for bad in ["-1", "121", "4000000000", "99999999999999999999"] {
            assert_eq!(of(&format!("wait={bad}"), "").unwrap_err().status(), 400);
        }
    }
}
