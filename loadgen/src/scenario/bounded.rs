//! Text files, read up to a bound.
//!
//! What a file says of its length is not asked: a pipe, a device and a file that grows say nothing true of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The text of a file of at most `most` bytes.
///
/// # Errors
/// Of the file system, [`io::ErrorKind::FileTooLarge`] beyond `most`, [`io::ErrorKind::InvalidData`] if it is no text.
pub(super) fn read(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let problem = format!("it is longer than {most} bytes, so it is some other file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_read_up_to_the_bound() {
        assert_eq!(read(Path::new("/dev/zero"), 1 << 16).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_file_of_just_that_length_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1234").unwrap();
        assert_eq!(read(file.path(), 4).unwrap(), "1234");
        assert!(read(file.path(), 3).unwrap_err().to_string().contains("longer than 3 bytes"));
        std::fs::write(file.path(), [0xff]).unwrap();
        assert_eq!(read(file.path(), 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
