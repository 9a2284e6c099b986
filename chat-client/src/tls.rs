//! Whom the client believes to be its server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chat_core::secure::{Trust, client_config, explain};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::time_provider::DefaultTimeProvider;

/// What an encrypted carrier needs: settings of TLS, and the name that the certificate has to be for.
#[derive(Clone, Debug)]
pub struct Security {
    pub(crate) config: Arc<rustls::ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// Why nobody can be believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{}: cannot be read: {source}; give a file that this user can read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: holds no certificate in PEM form; look for a line \"-----BEGIN CERTIFICATE-----\"", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{}: holds a certificate that cannot be used: {reason}", path.display())]
    Unusable { path: PathBuf, reason: rustls::Error },
    #[error("the system has no root certificates; give --ca FILE or --fingerprint SHA256")]
    NoSystemRoots,
    #[error("\"{0}\" is no host name or IP address, as a certificate would have it")]
    Name(String),
    #[error("{}", explain(.0))]
    Tls(#[from] rustls::Error),
}

impl Security {
    /// `name` is a host name or an IP address, without a port.
    ///
    /// # Errors
    /// If it is neither, or `trust` has no root.
    pub fn new(trust: Trust, name: &str) -> Result<Self, TrustError> {
        let server = ServerName::try_from(name.to_owned()).map_err(|_| TrustError::Name(name.to_owned()))?;
        Ok(Self { config: client_config(trust, Arc::new(DefaultTimeProvider))?, name: server })
    }
}

/// Trust in the certificates of a PEM file, and in whom they have signed.
///
/// # Errors
/// If there is no such file, or no usable certificate in it.
pub fn roots_in(path: &Path) -> Result<Trust, TrustError> {
    let text = fs::read(path).map_err(|source| TrustError::Read { path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|_| TrustError::NoCertificate { path: path.to_owned() })?;
        roots.add(certificate).map_err(|reason| TrustError::Unusable { path: path.to_owned(), reason })?;
    }
    if roots.is_empty() {
        return Err(TrustError::NoCertificate { path: path.to_owned() });
    }
    Ok(Trust::Roots(roots))
}

/// Trust in whom the system trusts.
///
/// # Errors
/// If that is nobody.
pub fn system_roots() -> Result<Trust, TrustError> {
    let mut roots = RootCertStore::empty();
    // Systems keep a few certificates that nothing can read; the others count.
    let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 { Err(TrustError::NoSystemRoots) } else { Ok(Trust::Roots(roots)) }
}
