//! Failed attempts, counted for each peer: after some of them it is made to wait.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::http::peer::PeerKey;

/// Failures in a row that cost nothing.
const BURST: u32 = 20;
/// After this time one more is free.
const REFILL: Duration = Duration::from_secs(3);
/// Peers that are remembered; beyond it those that wait longest are forgotten first.
const MOST: usize = 10_000;

/// The failures of each peer.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    failures: HashMap<PeerKey, Failures>,
    /// Tokens that worked from a peer go on working from there, whoever else fails there.
    proven: HashSet<(PeerKey, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Failures {
    /// Those that are not yet forgiven.
    fn now(self, now: Instant) -> Self {
        let refills = now.saturating_duration_since(self.since).as_secs() / REFILL.as_secs();
        let forgiven = u32::try_from(refills).unwrap_or(u32::MAX).min(self.count);
        Self { count: self.count - forgiven, since: self.since + REFILL * forgiven }
    }
}

impl Attempts {
    /// How long this peer has to wait before the next attempt with a token of this id; none when it may go on.
    pub(crate) fn wait(&self, peer: PeerKey, id: Option<&str>, now: Instant) -> Option<Duration> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = inner.failures.get(&peer)?.now(now);
        let is_proven = id.is_some_and(|id| inner.proven.contains(&(peer, id.to_owned())));
        (failures.count >= BURST && !is_proven)
            .then(|| REFILL.saturating_sub(now.saturating_duration_since(failures.since)))
    }

    pub(crate) fn failed(&self, peer: PeerKey, now: Instant) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.failures.len() >= MOST && !inner.failures.contains_key(&peer) {
            inner.failures.retain(|_, failures| failures.now(now).count > 0);
            if inner.failures.len() >= MOST {
                let oldest = inner.failures.iter().min_by_key(|(_, failures)| failures.since).map(|(peer, _)| *peer);
                oldest.and_then(|peer| inner.failures.remove(&peer));
            }
        }
        let failures = inner.failures.entry(peer).or_insert(Failures { count: 0, since: now });
        let before = failures.now(now);
        *failures = match before.count {
            0 => Failures { count: 1, since: now },
            count => Failures { count: (count + 1).min(BURST), since: before.since },
        };
    }

    pub(super) fn worked(&self, peer: PeerKey, id: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.proven.len() >= MOST {
            inner.proven.clear();
        }
        if !inner.proven.contains(&(peer, id.to_owned())) {
            inner.proven.insert((peer, id.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_fails_waits_and_nobody_else_does() {
        let attempts = Attempts::default();
        let (bad, good) = (PeerKey::of_user(1), PeerKey::of_user(2));
        let begun = Instant::now();
        attempts.worked(bad, "proven");
        for _ in 0..BURST {
            assert_eq!(attempts.wait(bad, Some("x"), begun), None);
            attempts.failed(bad, begun);
        }
        assert!(attempts.wait(bad, Some("x"), begun).is_some_and(|wait| wait <= REFILL));
        assert_eq!(attempts.wait(bad, Some("proven"), begun), None);
        assert_eq!(attempts.wait(good, Some("x"), begun), None);
        assert_eq!(attempts.wait(bad, Some("x"), begun + REFILL), None);
        attempts.failed(bad, begun + REFILL);
        assert!(attempts.wait(bad, Some("x"), begun + REFILL).is_some());
    }

    #[test]
    fn the_peers_that_are_remembered_are_bounded() {
        let attempts = Attempts::default();
        let begun = Instant::now();
        for user in 0..u32::try_from(MOST).unwrap() + 10 {
            attempts.failed(PeerKey::of_user(user), begun);
        }
        assert_eq!(attempts.0.lock().unwrap().failures.len(), MOST);
    }
}
