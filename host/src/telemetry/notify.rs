//! The word to systemd: readiness, reloads, status and the watchdog, as sd_notify(3) defines them.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// What the service manager is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State<'s> {
    /// Started, or done with reloading.
    Ready,
    /// A reload has begun; [`State::Ready`] ends it.
    Reloading,
    /// One line for people, shown by `systemctl status`. Line ends in it become spaces.
    Status(&'s str),
    /// On the way out.
    Stopping,
    /// Still alive.
    Watchdog,
}

/// Speaks to the service manager, or to nobody when there is none.
#[derive(Debug)]
pub struct Notifier {
    peer: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Takes the values of `NOTIFY_SOCKET` and `WATCHDOG_USEC`; the latter only if `WATCHDOG_PID` is absent or this process.
    ///
    /// # Errors
    /// A socket that is neither an absolute path nor an abstract name (`@...`), or no datagram socket to be had.
    pub fn new(socket: Option<OsString>, watchdog_usec: Option<&str>) -> io::Result<Self> {
        let watchdog =
            watchdog_usec.and_then(|text| text.parse().ok()).filter(|usec| *usec > 0).map(Duration::from_micros);
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self { peer: None, watchdog }) };
        Ok(Self { peer: Some((UnixDatagram::unbound()?, address(&name)?)), watchdog })
    }

    /// A notifier for the environment that systemd gave this process.
    ///
    /// # Errors
    /// As [`Notifier::new`].
    pub fn from_process() -> io::Result<Self> {
        let is_ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog = std::env::var("WATCHDOG_USEC").ok().filter(|_| is_ours);
        Self::new(std::env::var_os("NOTIFY_SOCKET"), watchdog.as_deref())
    }

    /// How often to send [`State::Watchdog`]: half the time after which the service manager gives up on the process.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Whether anybody listens.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.peer.is_some()
    }

    /// Sends one message. Does nothing without a service manager.
    ///
    /// # Errors
    /// The socket is gone or full; the daemon goes on without it.
    pub fn notify(&self, state: State<'_>) -> io::Result<()> {
        let Some((socket, peer)) = &self.peer else { return Ok(()) };
        let message = match state {
            State::Ready => "READY=1".to_owned(),
            // systemd pairs the message with its own request by this time (Type=notify-reload).
            State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()),
            State::Status(text) => format!("STATUS={}", text.replace(['\n', '\r'], " ")),
            State::Stopping => "STOPPING=1".to_owned(),
            State::Watchdog => "WATCHDOG=1".to_owned(),
        };
        socket.send_to_addr(message.as_bytes(), peer).map(|_| ())
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "found NOTIFY_SOCKET={}; expected an absolute path or @NAME; unset it to run without systemd",
                name.display()
            ),
        )),
    }
}

fn monotonic_usec() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn messages_arrive_at_a_socket_in_the_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.into()), Some("3000000")).unwrap();
        for (state, text) in [
            (State::Ready, "READY=1"),
            (State::Stopping, "STOPPING=1"),
            (State::Watchdog, "WATCHDOG=1"),
            (State::Status("two\nlines"), "STATUS=two lines"),
        ] {
            notifier.notify(state).unwrap();
            assert_eq!(received(&manager), text);
        }
        notifier.notify(State::Reloading).unwrap();
        let reloading = received(&manager);
        let usec: u64 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(usec > 0);
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn abstract_sockets_are_reached() {
        let name = format!("capstan-notify-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notifier = Notifier::new(Some(format!("@{name}").into()), None).unwrap();
        notifier.notify(State::Ready).unwrap();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn without_a_manager_nothing_is_sent_and_nothing_fails() {
        let notifier = Notifier::new(None, Some("0")).unwrap();
        assert!(!notifier.is_heard());
        notifier.notify(State::Ready).unwrap();
        assert_eq!(notifier.watchdog_interval(), None);
        assert!(Notifier::new(Some("relative".into()), None).is_err());
    }
}
