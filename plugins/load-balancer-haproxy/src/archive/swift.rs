//! As an object of Swift: the container first (which may exist), then the object with its MD5 as ETag.

use std::{fs::File, time::Duration};

use capstan_plugin_api::{CallContext, DriverError, ErrorCode, load_balancer::ArchiveRequest};
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::log::Packed;
use crate::{device::Fault, settings::Settings};

/// Uploads. The token goes to the endpoint and nowhere else: redirects are not followed, no proxy is taken from the
/// environment, and no message carries it.
pub fn put(
    settings: &Settings,
    call: &CallContext,
    request: &ArchiveRequest,
    object: &str,
    packed: &Packed,
) -> Result<(), DriverError> {
    let endpoint = request.endpoint.trim_end_matches('/');
    let well_formed = (endpoint.starts_with("https://") || endpoint.starts_with("http://"))
        && endpoint.bytes().all(|byte| byte.is_ascii_graphic())
        && !endpoint.contains(['?', '#', '@']);
    if !well_formed {
        return Err(DriverError::invalid_argument("The Swift endpoint is no http or https address."));
    }
    let container = &request.basepath;
    if container.is_empty() || container.len() > 256 || container.contains('/') {
        return Err(DriverError::invalid_argument("The Swift container's name must have 1 to 256 bytes and no slash."));
    }
    let token = request.token.expose();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(DriverError::invalid_argument("The Swift token is empty or holds characters that no token has."));
    }
    let agent = agent(settings, call.time_left())?;
    let container = format!("{endpoint}/{}", encoded(container));
    let answer = agent.put(&container).header("X-Auth-Token", token).send_empty();
    expect_success("container", answer)?;
    call.check()?;
    let file = File::open(&packed.path).map_err(Fault::file("read", &packed.path))?;
    // Letters, digits, `.`, `_`, `-` and the slash: nothing to encode.
    let answer = agent
        .put(format!("{container}/{object}"))
        .header("X-Auth-Token", token)
        .header("ETag", &packed.md5)
        .header("Content-Type", "application/gzip")
        .header("Content-Length", packed.bytes.to_string())
        .send(file);
    expect_success("object", answer)
}

fn agent(settings: &Settings, time: Duration) -> Result<Agent, DriverError> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = &settings.swift_ca_file {
        let pem = std::fs::read(path).map_err(Fault::file("read", path))?;
        let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if certificates.is_empty() {
            return Err(DriverError::internal("The Swift service cannot be reached.")
                .for_operator(format!("swift_ca_file: {} holds no certificate", path.display())));
        }
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
    }
    let config = Agent::config_builder()
        .timeout_global(Some(time))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .tls_config(tls.build());
    Ok(config.build().new_agent())
}

fn expect_success(
    what: &str,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<(), DriverError> {
    let cause = match answer {
        Ok(answer) if answer.status().is_success() => return Ok(()),
        Ok(answer) => format!("PUT of the {what} was answered with {}", answer.status()),
        Err(error) => format!("PUT of the {what} failed: {error}"),
    };
    Err(DriverError::new(ErrorCode::UNAVAILABLE, format!("Failure during Swift operations. Swift enabled?\n{cause}")))
}

/// Percent-encodes all that is not unreserved (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}
