//! What the server shows of itself: a certificate and its key, from files.
//!
//! Files are read once, at the start, so that a wrong one keeps the server from starting instead of turning clients away.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chat_core::secure::{Fingerprint, server_config};
use rcgen::{Certificate, CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::time_provider::DefaultTimeProvider;

/// The server's identity, and who may do without it.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) config: Arc<rustls::ServerConfig>,
    fingerprint: Fingerprint,
    /// Whether peers over UDP may speak unencrypted. Off: they are told to encrypt.
    pub plain_datagrams: bool,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is missing, or belongs to somebody else.
    #[error("{}: cannot be read: {source}; give a file that this user can read", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// No PEM, or the wrong kind.
    #[error("{}: holds no {what} in PEM form ({reason}); look for a line \"-----BEGIN {label}-----\"", path.display())]
    Pem { path: PathBuf, what: &'static str, label: &'static str, reason: String },
    /// Both can be read, but do not belong together or are not supported.
    #[error("{} and {}: {reason}; give the key that the certificate was made for", cert.display(), key.display())]
    Pair { cert: PathBuf, key: PathBuf, reason: rustls::Error },
    #[error("{}: cannot be written: {source}; give a folder that this user can write to", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// One of the two files that were made together is gone.
    #[error("{}: is missing beside its other half; remove that, too, for a new certificate, or put it back", path.display())]
    Half { path: PathBuf },
    #[error("a certificate for {names}: {source}")]
    Make { names: String, source: rcgen::Error },
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its private key, both in PEM form.
    ///
    /// # Errors
    /// If a file cannot be read or is none of these, or the two do not belong together.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = |path: &Path, what, label, reason: &dyn ToString| TlsError::Pem {
            path: path.to_owned(),
            what,
            label,
            reason: reason.to_string(),
        };
        let wrong_cert = |reason: &dyn ToString| pem(cert, "certificate", "CERTIFICATE", reason);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(cert)?)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong_cert(&error))?;
        let own = chain.first().ok_or_else(|| wrong_cert(&"no such section"))?;
        let fingerprint = Fingerprint::of(own);
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|error| pem(key, "private key", "PRIVATE KEY", &error))?;
        let config = server_config(chain, secret, Arc::new(DefaultTimeProvider))
            .map_err(|reason| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), reason })?;
        Ok(Self { config, fingerprint, plain_datagrams: false })
    }

    /// The certificate in `folder`, made there first if there is none: `cert.pem`, and `key.pem` that only this user can
    /// read. It signs itself and names `names`, so clients need it as `--ca`, or its fingerprint.
    ///
    /// # Errors
    /// If the folder cannot be written to, or what is there cannot be read.
    pub fn self_signed(folder: &Path, names: &[String]) -> Result<Self, TlsError> {
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        match (cert.exists(), key.exists()) {
            (true, true) => {}
            (false, false) => make(folder, names, &cert, &key)?,
            (true, false) => return Err(TlsError::Half { path: key }),
            (false, true) => return Err(TlsError::Half { path: cert }),
        }
        Self::read(&cert, &key)
    }

    /// A certificate that lives as long as this value and is in no file, for a server inside another program.
    ///
    /// # Errors
    /// If a name is none.
    pub fn fresh(names: &[String]) -> Result<Self, TlsError> {
        let (certificate, pair) = certify(names)?;
        let own: CertificateDer<'static> = certificate.into();
        let fingerprint = Fingerprint::of(&own);
        let key = PrivateKeyDer::try_from(pair.serialize_der()).expect("a key that was just made");
        let config = server_config(vec![own], key, Arc::new(DefaultTimeProvider));
        let config = config.expect("a pair that was just made belongs together");
        Ok(Self { config, fingerprint, plain_datagrams: false })
    }

    /// SHA-256 of the server's own certificate, for clients that pin it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certify(names: &[String]) -> Result<(Certificate, KeyPair), TlsError> {
    let failed = |source| TlsError::Make { names: names.join(", "), source };
    let mut params = CertificateParams::new(names).map_err(failed)?;
    // Its name as an issuer; the names that count are the alternative ones. It never expires: whoever trusts it has it.
    params.distinguished_name.push(DnType::CommonName, "Squall chat server");
    let pair = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&pair).map_err(failed)?;
    Ok((certificate, pair))
}

fn make(folder: &Path, names: &[String], cert: &Path, key: &Path) -> Result<(), TlsError> {
    let (certificate, pair) = certify(names)?;
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Write { path, source }
    };
    fs::create_dir_all(folder).map_err(unwritable(folder))?;
    write_new(key, 0o600, &pair.serialize_pem()).map_err(unwritable(key))?;
    write_new(cert, 0o644, &certificate.pem()).map_err(unwritable(cert))
}

fn write_new(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_self_signed_certificate_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let first = Tls::self_signed(&folder.path().join("tls"), &names).unwrap();
        let again = Tls::self_signed(&folder.path().join("tls"), &names).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        let key = fs::metadata(folder.path().join("tls/key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        fs::remove_file(folder.path().join("tls/cert.pem")).unwrap();
        let error = Tls::self_signed(&folder.path().join("tls"), &names).unwrap_err().to_string();
        assert!(error.contains("cert.pem: is missing"), "{error}");
    }

    #[test]
    fn a_fresh_certificate_is_another_each_time() {
        let fresh = |name: &str| Tls::fresh(&[name.to_owned()]);
        assert_ne!(fresh("localhost").unwrap().fingerprint(), fresh("localhost").unwrap().fingerprint());
        assert!(fresh("no näme").is_err());
    }

    #[test]
    fn a_wrong_file_is_named_with_what_it_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["one", "other"] {
            Tls::self_signed(&path(name), &["localhost".to_owned()]).unwrap();
        }
        fs::write(path("empty"), "").unwrap();
        let (cert, key) = (path("one/cert.pem"), path("one/key.pem"));
        for (cert, key, says) in [
            (&path("none"), &key, "none: cannot be read"),
            (&path("empty"), &key, "empty: holds no certificate"),
            (&key, &key, "key.pem: holds no certificate"),
            (&cert, &cert, "cert.pem: holds no private key"),
            (&cert, &path("other/key.pem"), "give the key that the certificate was made for"),
        ] {
            let error = Tls::read(cert, key).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }
}
