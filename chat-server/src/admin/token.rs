//! The secret that changes something: made, kept, found, compared.
//!
//! A server without a given token writes a fresh one to a file that only its user can read, so that `admin` works on
//! one's own machine without a word. The file is in the user's runtime folder, or in a folder of the user's own below the
//! temporary one. That one is shared, so the folder is made with mode 0700 and refused unless it is a folder, ours, and
//! closed to others: a link or a folder that somebody planted there is not followed.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use units::Seed;

/// A bearer token. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Where a server's token comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// A new one, written to [`token_file`]`(port)`.
    Fresh,
    Given(Token),
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("admin token file {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: not a folder of this user closed to others (mode 0700); remove it or set XDG_RUNTIME_DIR", path.display())]
    UnsafeFolder { path: PathBuf },
    #[error(
        "{origin}: a token has {MIN_CHARS} to {MAX_CHARS} visible ASCII characters; make one with: openssl rand -hex 32"
    )]
    Unusable { origin: String },
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl Token {
    /// 256 bits of the system's randomness, in hexadecimal.
    pub fn fresh() -> Result<Self, TokenError> {
        Ok(Self(random_hex()?))
    }

    /// Checks a token that somebody chose. `origin` says where it stood.
    pub fn parse(text: &str, origin: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(MIN_CHARS..=MAX_CHARS).contains(&text.len()) {
            return Err(TokenError::Unusable { origin: origin.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a token from a file.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(path).map_err(|source| TokenError::file(path, source))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// For the `Authorization` header of a request.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this token, in a time that does not tell how much of it is right.
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        let mut difference = ours.len() ^ theirs.len();
        for (index, &byte) in ours.iter().enumerate() {
            let other = theirs.get(index).copied().unwrap_or(0);
            // Without the black box the compiler may stop at the first difference.
            difference |= std::hint::black_box(usize::from(byte ^ other));
        }
        difference == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// A token on disk, removed when dropped.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// Writes `token` for the server on `port` into `folder`.
    pub(crate) fn create(folder: &Path, port: u16, token: &Token) -> Result<Self, TokenError> {
        let path = folder.join(file_name(port));
        remove_stale(&path)?;
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            writeln!(file, "{}", token.secret())
        };
        write().map_err(|source| TokenError::file(&path, source))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "removing the admin token");
        }
    }
}

/// Where a server on `port` writes its token, and where a tool looks for it.
#[must_use]
pub fn token_file(port: u16) -> PathBuf {
    runtime_folder().join(file_name(port))
}

/// The user's runtime folder: `$XDG_RUNTIME_DIR` if it is there, else `squall-UID` in the temporary folder.
#[must_use]
pub fn runtime_folder() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usable = given.filter(|path| path.is_absolute() && is_private(path));
    usable.unwrap_or_else(|| std::env::temp_dir().join(format!("squall-{}", own_uid())))
}

/// Makes the runtime folder if it is not there; an existing one must be ours alone.
pub(crate) fn prepare_folder(folder: &Path) -> Result<(), TokenError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(TokenError::file(folder, error));
        }
        _ => {}
    }
    if is_private(folder) { Ok(()) } else { Err(TokenError::UnsafeFolder { path: folder.to_owned() }) }
}

/// A seed that nobody can guess, for a server that is not under test: session tokens are drawn from it.
pub fn unguessable_seed() -> Result<Seed, TokenError> {
    Ok(Seed::root(0).fork(&random_hex()?))
}

fn random_hex() -> Result<String, TokenError> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_private(folder: &Path) -> bool {
    // Of the path itself, not of what a link leads to.
    fs::symlink_metadata(folder)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == own_uid() && meta.mode() & 0o077 == 0)
}

/// Removes what an earlier server left behind, if it is a plain file of ours.
fn remove_stale(path: &Path) -> Result<(), TokenError> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !meta.is_file() || meta.uid() != own_uid() {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "is in the way and no file of this user");
        return Err(TokenError::file(path, source));
    }
    fs::remove_file(path).map_err(|source| TokenError::file(path, source))
}

fn file_name(port: u16) -> String {
    format!("squall-admin-{port}.token")
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Shorter ones can be guessed; this is 64 bits if they are hexadecimal.
const MIN_CHARS: usize = 16;
/// Fits into any header.
const MAX_CHARS: usize = 256;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_fresh_token_has_256_bits_and_is_new_each_time() {
        let (a, b) = (Token::fresh().unwrap(), Token::fresh().unwrap());
        assert_eq!(a.secret().len(), 64);
        assert_ne!(a, b);
    }

    #[test]
    fn only_the_whole_token_matches() {
        let token = Token::parse("0123456789abcdef", "test").unwrap();
        assert!(token.matches("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeX", "0123456789abcdef0"] {
            assert!(!token.matches(wrong), "{wrong}");
        }
    }

    #[test]
    fn short_and_invisible_tokens_are_refused() {
        for wrong in ["", "short", "0123456789 abcdef", "0123456789\u{1b}abcdef"] {
            assert!(Token::parse(wrong, "test").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_file_is_for_its_user_alone_and_goes_with_its_server() {
        let folder = private_folder();
        let file = TokenFile::create(folder.path(), 8889, &Token::fresh().unwrap()).unwrap();
        let path = file.path().clone();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(Token::read(&path).is_ok());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_link_is_not_followed() {
        let folder = private_folder();
        let path = folder.path().join(file_name(1));
        fs::write(&path, "stale").unwrap();
        drop(TokenFile::create(folder.path(), 1, &Token::fresh().unwrap()).unwrap());
        let target = folder.path().join("target");
        fs::write(&target, "precious").unwrap();
        symlink(&target, &path).unwrap();
        assert!(TokenFile::create(folder.path(), 1, &Token::fresh().unwrap()).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn a_folder_that_others_can_read_is_refused() {
        let folder = private_folder();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(prepare_folder(folder.path()), Err(TokenError::UnsafeFolder { .. })));
    }

    fn private_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }
}
