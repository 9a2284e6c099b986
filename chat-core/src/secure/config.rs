//! Settings of TLS that both ends share, for streams and datagrams alike.
//!
//! TLS 1.3 only: the handshake over datagrams has no older one, and every client of this protocol is younger than it.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{Error, RootCertStore};

use super::ALPN;
use super::pin::{Fingerprint, Pinned};

/// Whom a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Certificates signed, directly or not, by one of these, valid today, and for the name asked for.
    Roots(RootCertStore),
    /// The one certificate with this digest, whatever it says.
    Fingerprint(Fingerprint),
}

/// The implementation of the ciphers, chosen here once and not for the whole process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What a server shows. `time` is asked when certificates are judged, which a server does not do, but rustls wants one.
///
/// # Errors
/// If the key is of a kind that is not known, or is not the certificate's.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    time: Arc<dyn TimeProvider>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nobody may come back with less than a whole handshake: no tickets, and so no early data.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What a client asks for. `time` says whether a certificate has expired.
///
/// # Errors
/// If `trust` has no root that can be used.
pub fn client_config(trust: Trust, time: Arc<dyn TimeProvider>) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Roots(roots) => {
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?
        }
        Trust::Fingerprint(fingerprint) => Arc::new(Pinned { fingerprint, provider: Arc::clone(&provider) }),
    };
    let mut config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
