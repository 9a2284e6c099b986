//! One experiment at a time in a folder.
//!
//! Two that write to one folder would move each other's runs away and remove each other's parts. The lock is the kernel's, on
//! the folder itself: it ends with the process, however that ends, and leaves no file behind.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _folder: File,
}

/// Why a folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("is in use by another loadgen; wait for it, or choose another folder with --out")]
    InUse,
    #[error("cannot be locked: {0}")]
    Io(#[source] io::Error),
}

impl Lock {
    /// Takes a folder that is there. A file system without locks (some network ones) gives it to everybody.
    ///
    /// # Errors
    /// [`LockError`], which completes a sentence that begins with the folder's name.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let folder = File::open(dir).map_err(LockError::Io)?;
        match folder.try_lock() {
            Ok(()) => Ok(Self { _folder: folder }),
            Err(TryLockError::WouldBlock) => Err(LockError::InUse),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(Self { _folder: folder })
            }
            Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_had_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let error = Lock::take(dir.path()).unwrap_err();
        assert!(matches!(error, LockError::InUse) && error.to_string().contains("--out"), "{error}");
        drop(first);
        Lock::take(dir.path()).unwrap();
    }
}
