//! Values that stand in a file: `trace(FILE)`, `table(FILE)`.

use std::fs::File;
use std::io::Read;

use super::value::ValueError;

/// Reads the text of `path` and what `parse` makes of it.
///
/// A SPEC is read where a person wrote it, on the machine of that person; what came over a network should not name
/// files (`serve` refuses it).
pub(super) fn read<T, E: std::fmt::Display>(
    path: &str,
    parse: impl FnOnce(&str, &str) -> Result<T, E>,
) -> Result<T, ValueError> {
    let wrong = |problem: String| ValueError::File { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut text = String::new();
    let most = MAX_BYTES + 1;
    let size = file.take(most).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    if size as u64 == most {
        return Err(wrong(format!("it is longer than {} MiB", MAX_BYTES >> 20)));
    }
    parse(path, &text).map_err(|error| wrong(error.to_string()))
}

/// An hour of a trace at a step a millisecond takes 50 MB; beyond that it is another kind of file.
const MAX_BYTES: u64 = 64 << 20;
