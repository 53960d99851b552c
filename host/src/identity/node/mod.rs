//! The node's side: a key of its own, a certificate for its token, and a new one before the old one ends.

mod ask;
mod folder;
mod pin;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SigningKey};
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use self::{
    ask::Daemon,
    folder::{Folder, Held},
};
use super::proof;
use crate::{
    backoff::Backoff,
    config::{DaemonUrl, Secret},
    telemetry::{Figures, Gauge, names},
};

/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The clock is looked at so often: it may be set.
const LOOK: Duration = Duration::from_secs(600);

/// By what a node knows that it talks to its daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The certificates of an authority, in PEM.
    Authority(String),
    /// The SHA-256 of a certificate that stands in the chain that the daemon shows, in hexadecimal digits.
    Fingerprint(String),
    /// Nothing: the daemon is on this machine.
    Loopback,
}

/// What a node goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the daemon is.
    pub url: DaemonUrl,
    /// The token for the first certificate.
    pub token: Option<Secret>,
    /// Where key and certificates are kept.
    pub directory: PathBuf,
    /// The node's name.
    pub name: String,
    /// By what the daemon is known.
    pub trust: Trust,
    /// How long before its end a certificate is renewed; at most half of its life.
    pub renew_before: Duration,
}

/// A node's identity, kept good as long as this runs.
pub struct Keeper {
    tls: watch::Receiver<Option<Arc<ClientConfig>>>,
    standing: watch::Receiver<Result<(), String>>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins. Nothing is waited for: what there is of certificates is in force at once, what is missing is fetched.
    ///
    /// # Errors
    /// What the daemon is known by is of no use.
    pub fn start(settings: Settings, figures: &Figures, end: watch::Receiver<bool>) -> Result<Self, String> {
        let daemon = Daemon::new(&settings.url, &settings.trust)?;
        let (tls_sender, tls) = watch::channel(None);
        let not_yet = format!("the node has no certificate yet; it is asked for at {}", settings.url);
        let (standing_sender, standing) = watch::channel(Err(not_yet));
        let folder = Folder::new(settings.directory.clone());
        let work = Work {
            settings,
            daemon,
            folder,
            tls: tls_sender,
            standing: standing_sender,
            in_force: None,
            certificate_end: figures.gauge(&names::IDENTITY_CERTIFICATE_END, []),
        };
        Ok(Self { tls, standing, task: tokio::spawn(work.run(end)) })
    }

    /// What connections are made with; none as long as there is no certificate.
    pub fn tls(&self) -> watch::Receiver<Option<Arc<ClientConfig>>> {
        self.tls.clone()
    }

    /// Whether the node has a certificate, or why not.
    pub fn standing(&self) -> watch::Receiver<Result<(), String>> {
        self.standing.clone()
    }

    /// Waits until it has ended.
    pub async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the keeper of the node's identity ended badly");
        }
    }
}

struct Work {
    settings: Settings,
    daemon: Daemon,
    folder: Folder,
    tls: watch::Sender<Option<Arc<ClientConfig>>>,
    standing: watch::Sender<Result<(), String>>,
    /// Serial number of the certificate that connections are made with.
    in_force: Option<String>,
    certificate_end: Arc<Gauge>,
}

impl Work {
    async fn run(mut self, mut end: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let wait = match self.step().await {
                Ok(wait) => {
                    backoff.reset();
                    wait.min(LOOK)
                }
                Err(reason) => {
                    let wait = backoff.wait();
                    tracing::warn!(name = self.settings.name, reason, retry_after = ?wait, "the node gets no certificate");
                    if self.tls.borrow().is_none() {
                        let _before = self.standing.send_replace(Err(format!("the node has no certificate: {reason}")));
                    }
                    wait
                }
            };
            tokio::select! {
                _ = end.wait_for(|end| *end) => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Does what is due, and says when to look again.
    async fn step(&mut self) -> Result<Duration, String> {
        let Some(held) = self.folder.load(&self.settings.name)? else {
            self.enrol().await?;
            return Ok(Duration::ZERO);
        };
        let now = now();
        if held.not_after <= now {
            self.tls.send_replace(None);
            self.in_force = None;
            return match self.enrol().await {
                Ok(()) => Ok(Duration::ZERO),
                Err(reason) => Err(format!(
                    "its certificate has expired and cannot be renewed; give it a new token (`capstan identity token {}`): {reason}",
                    self.settings.name
                )),
            };
        }
        self.put_in_force(&held)?;
        let due = due(&held, self.settings.renew_before);
        if let Some(left) = due.checked_sub(now).filter(|left| *left > 0) {
            return Ok(Duration::from_secs(u64::try_from(left).unwrap_or(1)));
        }
        self.renew(&held).await.map_err(|reason| format!("its certificate is not renewed: {reason}"))?;
        Ok(Duration::ZERO)
    }

    fn put_in_force(&mut self, held: &Held) -> Result<(), String> {
        if self.in_force.as_ref() == Some(&held.serial) {
            return Ok(());
        }
        let config = self.folder.files().client_config().map_err(|error| error.to_string())?;
        self.tls.send_replace(Some(config));
        let _before = self.standing.send_replace(Ok(()));
        self.certificate_end.set(held.not_after);
        self.in_force = Some(held.serial.clone());
        tracing::info!(name = self.settings.name, serial = held.serial, "the node has a certificate");
        Ok(())
    }

    async fn enrol(&self) -> Result<(), String> {
        let Some(token) = &self.settings.token else {
            return Err("there is no identity.token to get one with".to_owned());
        };
        let key = self.folder.pending()?;
        let (csr, _) = request(&self.settings.name, &key)?;
        let answer = self.daemon.post("/identity/v1/enrol", &json!({ "token": token.expose(), "csr": csr })).await?;
        self.take_over(&key, &answer)
    }

    async fn renew(&self, held: &Held) -> Result<(), String> {
        let key = self.folder.pending()?;
        let (csr, der) = request(&self.settings.name, &key)?;
        let signature = held.key.sign(&proof::message(&der)).map_err(|error| error.to_string())?;
        let body = json!({ "certificate": held.pem, "csr": csr, "signature": BASE64.encode(&signature) });
        let answer = self.daemon.post("/identity/v1/renew", &body).await?;
        self.take_over(&key, &answer)
    }

    fn take_over(&self, key: &KeyPair, answer: &Value) -> Result<(), String> {
        let text = |name: &str| {
            answer[name]
                .as_str()
                .ok_or_else(|| format!("the daemon's answer has no {name}; expected a newer daemon there"))
        };
        let (certificate, ca) = (text("certificate")?, text("ca")?);
        self.daemon.check_authority(ca)?;
        self.folder.take_over(&self.settings.name, key, certificate, ca)
    }
}

/// A request for a certificate, in PEM and in DER.
fn request(name: &str, key: &KeyPair) -> Result<(String, Vec<u8>), String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(key).map_err(|error| error.to_string())?;
    Ok((request.pem().map_err(|error| error.to_string())?, request.der().to_vec()))
}

/// When a certificate is to be renewed: a time that differs from node to node, so that they do not all come at once.
fn due(held: &Held, before: Duration) -> i64 {
    let life = held.not_after.saturating_sub(held.not_before.max(held.not_after - 366 * 86_400));
    let lead = i64::try_from(before.as_secs()).unwrap_or(i64::MAX).min(life / 2).max(1);
    let digits = held.serial.get(held.serial.len().saturating_sub(4)..).unwrap_or_default();
    let share = i64::from(u16::from_str_radix(digits, 16).unwrap_or(0));
    // Up to a tenth later.
    held.not_after - lead + lead / 10 * share / i64::from(u16::MAX)
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
