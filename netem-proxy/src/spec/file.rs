//! Values that stand in a file: `trace(FILE)`, `table(FILE)`.

use std::fs::File;
use std::io::Read;

use super::value::ValueError;

/// Reads the text of `path` and what `parse` makes of it.
///
/// A SPEC is read on the machine of the person who wrote it. What came over a network must not name files here: see
/// [`names_file`].
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

/// Whether a SPEC names a file of the machine it is read on. Servers refuse such from others.
#[must_use]
pub fn names_file(spec: &str) -> bool {
    ["trace", "table"].iter().any(|name| {
        spec.match_indices(name).any(|(place, _)| spec[place + name.len()..].trim_start().starts_with('('))
    })
}

/// An hour of a trace at a step a millisecond takes 50 MB; beyond that it is another kind of file.
const MAX_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_noticed_however_they_are_written() {
        for spec in
            ["loss=trace(/etc/passwd)", "delay=1ms jitter=1ms dist=table (x)", "loss=1% delay=trace\t(x)"]
        {
            assert!(names_file(spec), "{spec}");
        }
        assert!(!names_file("loss=1% delay=5ms"));
    }
}
