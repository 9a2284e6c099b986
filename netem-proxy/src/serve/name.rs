//! Which names proxies, toxics and links may have.

use super::error::ApiError;

/// Anything that can be a segment of a path and a line of a log.
pub(super) fn check(name: &str) -> Result<(), ApiError> {
    if name.len() > MAX_BYTES {
        return Err(ApiError::bad_request(format!(
            "name: it has {} bytes; use at most {MAX_BYTES}",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::bad_request("name: it contains a control character; use printable ones"));
    }
    Ok(())
}

/// A file name's worth; names are part of every path, metric and log line.
const MAX_BYTES: usize = 255;
