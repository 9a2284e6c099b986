//! Encryption of carriers: TLS 1.3 on a stream, and over datagrams in forms of our own.
//!
//! On a stream TLS is used as it is, by the shells; here are only the settings that both ends share ([`server_config`],
//! [`client_config`]). Over datagrams the TLS handshake is carried as QUIC carries it (RFC 9001): TLS gives messages and
//! keys, and we move the messages and protect the packets. That needs one round trip, no record layer, and nothing that a
//! lost or reordered datagram could stall afterwards.
//!
//! - [`Handshake`]: the messages of TLS in crypto datagrams (`0x82`), sent again until they are acknowledged.
//! - [`Seal`]: protection of packets (`0x81`): explicit counter, replay window, key update, limits of the ciphers.
//! - [`Channel`]: both together, as a filter for plain datagrams between a [`Carrier`](crate::carrier::Carrier) and a socket.
//!
//! # Chance and time
//! Time is an argument everywhere but in one place: whether a certificate has expired is asked of the `TimeProvider` that
//! the configuration was made with, so that a test can set the date. Chance is not an argument: keys have to be
//! unguessable, so TLS takes its own from the system. Nothing here is used in the simulator.
//!
//! # What it deliberately leaves out
//! 0-RTT data and tickets (what is said there can be replayed), client certificates (a name belongs to whoever is
//! connected with it), header protection (our counters are visible; see `docs/PROTOCOL.md` for what that shows).

mod channel;
mod config;
mod flight;
mod handshake;
mod packet;
mod pin;
mod replay;
mod seal;

#[cfg(test)]
mod tests;

pub use channel::{Channel, ChannelStats};
pub use config::{Trust, client_config, provider, server_config};
pub use handshake::Handshake;
pub use packet::{connection_id, is_crypto, is_sealed};
pub use pin::Fingerprint;
pub use seal::{OpenError, Seal, SealError, SealLimits};

use crate::wire::datagram::{HEADER_BYTES, PLAIN_BINARY, SHORT_HEADER_BYTES};

/// The name that both ends give in the handshake (ALPN, RFC 7301), so that a certificate's other services and this one
/// cannot be taken for each other. It stands for version 1 of the protocol.
pub const ALPN: &[u8] = b"squall/1";

/// First byte of a sealed packet.
pub const SEALED: u8 = 0x81;
/// First byte of a crypto datagram.
pub const CRYPTO: u8 = 0x82;

/// Form, connection id, phase and counter.
pub(crate) const SEALED_HEADER_BYTES: usize = 1 + 8 + 4;
/// Authentication tag of every cipher of TLS 1.3 that is used here (RFC 8446 section 5.2, RFC 5116).
pub(crate) const TAG_BYTES: usize = 16;
/// What sealing adds to a plain datagram, at most, in bytes: the form with the shorter plain header decides.
pub const SEALING_BYTES: usize = SEALED_HEADER_BYTES + TAG_BYTES - SHORT_HEADER_BYTES;

/// Length of a plain datagram once it is sealed, in bytes.
pub(crate) fn sealed_len(plain: &[u8]) -> usize {
    let header = if plain.first() == Some(&PLAIN_BINARY) { SHORT_HEADER_BYTES } else { HEADER_BYTES };
    plain.len().saturating_sub(header) + SEALED_HEADER_BYTES + TAG_BYTES
}

const _: () = assert!(SHORT_HEADER_BYTES <= HEADER_BYTES, "the binary header is the shorter one");

/// Why a secure channel cannot be had, or has ended. One line, for people.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SecureError {
    /// TLS does not go on; most often a certificate that is not trusted.
    #[error("{}", explain(.0))]
    Tls(rustls::Error),
    /// The peer said why it does not go on.
    #[error("the other side ended the handshake: {0:?}")]
    Alert(rustls::AlertDescription),
    /// Nothing that counts came in time.
    #[error("the other side did not finish the handshake in time")]
    TimedOut,
    /// More handshake bytes than a handshake has.
    #[error("the handshake of the other side is longer than {} bytes", flight::MAX_STREAM_BYTES)]
    TooLong,
    /// A limit of the cipher was reached and the peer does not change keys.
    #[error("the keys of this connection are used up; connect again")]
    KeysUsedUp,
}

impl SecureError {
    /// Whether trying again cannot help: somebody has to change something first.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Tls(rustls::Error::InvalidCertificate(_) | rustls::Error::NoApplicationProtocol))
    }
}

impl From<rustls::Error> for SecureError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

/// What went wrong in TLS, and what to do about it.
#[must_use]
pub fn explain(error: &rustls::Error) -> String {
    use rustls::CertificateError as Wrong;
    use rustls::Error::{InvalidCertificate, NoApplicationProtocol};
    match error {
        // A bad signature is what another issuer of the same name looks like: a certificate that was made anew.
        InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => {
            "its certificate is signed by nobody known; give --ca FILE or --fingerprint SHA256".to_owned()
        }
        InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => {
            "its certificate has expired; renew it on the server, and check the clock here".to_owned()
        }
        InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; check the clocks of both machines".to_owned()
        }
        InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. }) => {
            "its certificate is for another name; give the right one with --server-name".to_owned()
        }
        InvalidCertificate(Wrong::Other(other)) => other.to_string(),
        InvalidCertificate(other) => format!("its certificate is refused: {other}"),
        NoApplicationProtocol => "it speaks TLS, but not this protocol".to_owned(),
        other => format!("TLS: {other}"),
    }
}
