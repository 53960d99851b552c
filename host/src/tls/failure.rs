//! What it means when a connection of TLS is refused or ends.

use std::io;

use rustls::{AlertDescription, Error, InvalidMessage};

/// What a failure says of the other side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meaning {
    /// It speaks something else.
    NoTls,
    /// It refuses the certificate that it was shown, or that it was shown none.
    Refused,
    /// It ended the connection, in the handshake or later, and did not say that or why, as TLS would.
    CutOff,
    /// What the error itself says.
    Other,
}

/// Looks through what the TLS layer says.
pub(crate) fn meaning(error: &io::Error) -> Meaning {
    use AlertDescription as Alert;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Meaning::NoTls,
        Some(Error::AlertReceived(
            Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate,
        )) => Meaning::Refused,
        Some(_) => Meaning::Other,
        // rustls' text for this names a page of its manual, which is for programmers.
        None if error.kind() == io::ErrorKind::UnexpectedEof => Meaning::CutOff,
        None => Meaning::Other,
    }
}
