//! One request and its answer.

use std::{
    io,
    time::{Duration, Instant},
};

use capstan_plugin_api::{CallContext, DriverError, Retry, Secret};
use serde_json::Value;
use ureq::{
    Agent, Error, Timeout,
    http::{Method, Request as HttpRequest, Response, header},
};

use crate::channel::{Attempt, Channel};

/// Bytes of the longest answer that is read: a list of ten thousand devices, which a libra that knows no pages sends at once,
/// has half of it.
const MOST_BYTES: u64 = 8 << 20;
/// Characters of an answer that are shown to the operator.
const SHOWN: usize = 160;
/// The longest time that a server may ask to be left alone.
const LONGEST_PAUSE: u64 = 3600;

/// What is asked.
#[derive(Debug)]
pub(crate) struct Request {
    pub method: Method,
    /// Below the base path, query included.
    pub path: String,
    pub body: Option<Vec<u8>>,
}

impl Request {
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }
}

/// Whom, and with what.
pub(crate) struct Target<'a> {
    /// URL up to the base path.
    pub base: &'a str,
    /// The same as people are told.
    pub shown: &'a str,
    pub user_agent: &'a str,
    pub token: Option<&'a Secret>,
    /// For all of it, and for the connection alone.
    pub time: Duration,
    pub connect_time: Duration,
}

/// What was answered, of whatever status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// Null where there was no JSON.
    pub body: Value,
    /// The beginning of the body, on one line.
    pub text: String,
    /// Why there was no JSON; none where there was.
    pub no_json: Option<String>,
    /// There was no body at all.
    pub is_empty: bool,
}

impl Reply {
    /// Its body is what the API may send: JSON, or nothing where a change was asked for.
    pub fn is_api(&self) -> bool {
        self.no_json.is_none() || self.is_empty
    }
}

/// No answer.
#[derive(Debug)]
pub(crate) struct Lost {
    pub error: DriverError,
    /// The request may have been received, and done.
    pub is_doubtful: bool,
}

/// Server and request as the operator is told.
pub(crate) fn place(target: &Target<'_>, request: &Request) -> String {
    format!("{} {}{}", request.method, target.shown, request.path)
}

pub(crate) fn exchange(
    channel: &impl Channel,
    call: &CallContext,
    target: &Target<'_>,
    request: &Request,
) -> Result<Reply, Lost> {
    let attempt = Attempt::new(call);
    let start = Instant::now();
    let config = Agent::config_builder()
        .timeout_global(Some(target.time))
        .timeout_connect(Some(target.connect_time))
        .timeout_resolve(Some(target.connect_time))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(target.user_agent)
        .accept("application/json")
        .tls_config(channel.tls_config())
        .build();
    let agent = channel.agent(config, attempt.clone());
    let answered = send(&agent, target, request).and_then(|answer| read(answer, target));
    answered.map_err(|error| {
        let is_doubtful = attempt.is_connected();
        // The call's own end comes first: it shows as an error of whatever was going on.
        let error = match call.check() {
            Err(ended) if !matches!(error, Error::Timeout(_)) || call.time_left() > Duration::ZERO => ended,
            _ => lost(&error, &place(target, request), is_doubtful, start.elapsed()),
        };
        Lost { error, is_doubtful }
    })
}

fn send(agent: &Agent, target: &Target<'_>, request: &Request) -> Result<Response<ureq::Body>, Error> {
    let mut head = HttpRequest::builder()
        .method(request.method.clone())
        .uri(format!("{}{}", target.base, request.path))
        .header(header::CONNECTION, "close");
    if let Some(token) = target.token {
        head = head.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
    }
    match &request.body {
        None => agent.run(head.body(()).map_err(Error::Http)?),
        Some(body) => {
            let head = head.header(header::CONTENT_TYPE, "application/json");
            agent.run(head.body(body.as_slice()).map_err(Error::Http)?)
        }
    }
}

fn read(mut answer: Response<ureq::Body>, target: &Target<'_>) -> Result<Reply, Error> {
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let kind = header(header::CONTENT_TYPE);
    // A date, the header's other form, is rare; whoever gets none waits its own time.
    let retry_after = header(header::RETRY_AFTER).and_then(|value| value.trim().parse::<u64>().ok());
    let bytes = answer.body_mut().with_config().limit(MOST_BYTES).read_to_vec()?;
    let mut text = shown(&bytes);
    if let Some(token) = target.token.map(Secret::expose).filter(|token| !token.is_empty()) {
        text = text.replace(token, "*****");
    }
    let (body, no_json) = match serde_json::from_slice(&bytes) {
        Ok(body) => (body, None),
        Err(_) if bytes.is_empty() => (Value::Null, Some("found an empty body".to_owned())),
        Err(error) => {
            let kind = kind.map_or("a body of no stated type".to_owned(), |kind| format!("a body of type {kind:?}"));
            (Value::Null, Some(format!("found {kind} ({error}) that begins {text:?}")))
        }
    };
    let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
    Ok(Reply { status: answer.status().as_u16(), retry_after, body, text, no_json, is_empty: bytes.is_empty() })
}

/// The beginning of a body without line ends and control characters.
fn shown(bytes: &[u8]) -> String {
    let beginning = String::from_utf8_lossy(bytes.get(..4 * SHOWN).unwrap_or(bytes));
    let line = beginning.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// What kept the answer away.
fn lost(error: &Error, place: &str, is_connected: bool, took: Duration) -> DriverError {
    let took = took.as_secs_f64();
    match error {
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            DriverError::timeout("The API server cannot be reached in time.")
                .for_operator(format!("{place}: no connection within {took:.1} s"))
                .retry(Retry::Now)
        }
        Error::Timeout(_) => DriverError::timeout("The API server did not answer in time.")
            .for_operator(format!("{place}: no answer within {took:.1} s"))
            .retry(Retry::Now),
        Error::BodyExceedsLimit(_) => DriverError::unavailable("The API server's answer is too large.")
            .for_operator(format!("{place}: found an answer of more than {MOST_BYTES} bytes; expected fewer"))
            .retry(Retry::Never),
        Error::Rustls(cause) => not_secure(&cause.to_string(), place),
        Error::HostNotFound => DriverError::unavailable("The API server cannot be found.")
            .for_operator(format!("{place}: its name is not known; check `servers`")),
        Error::Http(_) | Error::BadUri(_) => {
            DriverError::invalid_argument("The request cannot be written.").for_operator(format!("{place}: {error}"))
        }
        Error::Io(cause) if is_tls(cause) => not_secure(&cause.to_string(), place),
        _ if is_connected => DriverError::unavailable("The connection to the API server was lost.")
            .for_operator(format!("{place}: {error}")),
        _ => DriverError::unavailable("The API server cannot be reached.").for_operator(format!("{place}: {error}")),
    }
}

/// The handshake wraps rustls's errors.
fn is_tls(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::InvalidData && cause.get_ref().is_some()
}

fn not_secure(cause: &str, place: &str) -> DriverError {
    let remedy = if cause.contains("certificate") {
        "`ca_file` names the authority that signed its certificate, and `servers` the name that stands in it"
    } else {
        "check that the port in `servers` is one for TLS"
    };
    DriverError::unavailable("The API server cannot be reached securely.")
        .for_operator(format!("{place}: {cause}; {remedy}"))
        .retry(Retry::Never)
}
