//! Certificates that are of no use any more, before their time is over or because it is.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

/// How often an open connection's certificate is held against the clock.
const LOOK: Duration = Duration::from_secs(60);

/// Serial numbers of certificates that were revoked. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<watch::Sender<HashSet<String>>>);

impl Revocations {
    /// Takes over a list. Connections whose certificate is on it end at once.
    pub fn replace(&self, serials: HashSet<String>) {
        self.0.send_if_modified(|known| {
            let differs = *known != serials;
            *known = serials;
            differs
        });
    }

    /// Whether a certificate in DER is on the list.
    #[must_use]
    pub fn contains(&self, certificate: &[u8]) -> bool {
        serial(certificate).is_some_and(|serial| self.0.borrow().contains(&serial))
    }

    /// Returns when a certificate in DER is of no use any more, with the reason.
    pub(crate) async fn ended(&self, certificate: &[u8]) -> &'static str {
        let Some((serial, until)) = serial(certificate).zip(not_after(certificate)) else {
            // Nothing of the sort passes the handshake.
            return std::future::pending().await;
        };
        let mut list = self.0.subscribe();
        tokio::select! {
            biased;
            Ok(_) = list.wait_for(|list| list.contains(&serial)) => "it is revoked",
            () = past(until) => "it has expired",
        }
    }
}

/// Returns once the clock of this machine is past a second since 1970. Looks at it again and again: it may be set.
async fn past(until: i64) {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let left = until.saturating_sub(i64::try_from(now).unwrap_or(i64::MAX));
        let Some(left) = u64::try_from(left).ok().filter(|left| *left > 0) else { return };
        tokio::time::sleep(Duration::from_secs(left).min(LOOK)).await;
    }
}

/// The serial number of a certificate in DER, in hexadecimal digits, the zeros at its beginning left out.
pub(crate) fn serial(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let digits: String = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(digits.trim_start_matches('0').to_owned())
}

fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(serial: u64, end: rcgen::KeyPair) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.serial_number = Some(serial.into());
        params.self_signed(&end).unwrap().der().to_vec()
    }

    #[tokio::test]
    async fn an_open_connection_hears_of_its_revocation() {
        let one = certificate(0x00ab, rcgen::KeyPair::generate().unwrap());
        let other = certificate(7, rcgen::KeyPair::generate().unwrap());
        let list = Revocations::default();
        assert!(!list.contains(&one));
        let heard = tokio::spawn({
            let (list, one) = (list.clone(), one.clone());
            async move { list.ended(&one).await }
        });
        list.replace(HashSet::from([serial(&other).unwrap()]));
        assert!(list.contains(&other) && !list.contains(&one));
        list.replace(HashSet::from(["ab".to_owned()]));
        assert_eq!(heard.await.unwrap(), "it is revoked");
        assert!(!list.contains(b"nothing of the sort"));
    }

    #[tokio::test]
    async fn an_expired_certificate_has_ended() {
        let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let old = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(Revocations::default().ended(old.der()).await, "it has expired");
    }
}
