//! Standard input, line by line, within bounds.
//!
//! Reading blocks and cannot be called back, so a thread of its own does it and dies with the process.

use std::io::{self, BufRead, Read};
use std::thread;

use tokio::sync::mpsc;

/// What standard input gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A line without its end. What is not UTF-8 was replaced.
    Line(String),
    /// A line longer than [`MAX_LINE_BYTES`], which was skipped.
    TooLong,
    /// Nothing more can be read.
    Broken(String),
}

/// Starts reading. The channel closes at the end of input.
pub(crate) fn read() -> io::Result<mpsc::Receiver<Input>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut stdin = io::stdin().lock();
        while let Some(input) = next(&mut stdin) {
            let is_last = matches!(input, Input::Broken(_));
            if sender.blocking_send(input).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The next line; `None` at the end.
fn next(reader: &mut impl BufRead) -> Option<Input> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line);
    match read {
        Err(error) => return Some(Input::Broken(error.to_string())),
        Ok(0) => return None,
        Ok(_) => {}
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if line.len() as u64 > MAX_LINE_BYTES {
        return Some(match reader.skip_until(b'\n') {
            Ok(_) => Input::TooLong,
            Err(error) => Input::Broken(error.to_string()),
        });
    }
    Some(Input::Line(String::from_utf8_lossy(&line).into_owned()))
}

/// Far beyond what a server takes as one line, which it says itself; this only bounds memory.
pub(crate) const MAX_LINE_BYTES: u64 = 1 << 20;
/// Lines read before they can be sent.
const LINES_AHEAD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut bytes: &[u8]) -> Vec<Input> {
        std::iter::from_fn(|| next(&mut bytes)).collect()
    }

    fn line(text: &str) -> Input {
        Input::Line(text.to_owned())
    }

    #[test]
    fn lines_come_without_their_ends_and_the_last_needs_none() {
        assert_eq!(all(b"a\n\nb\r\n c "), [line("a"), line(""), line("b"), line(" c ")]);
        assert_eq!(all(b""), []);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(all(b"a\xffb\n"), [line("a\u{fffd}b")]);
    }

    #[test]
    fn a_line_beyond_the_bound_is_skipped_whole() {
        let mut bytes = vec![b'x'; 3 << 20];
        bytes.extend_from_slice(b"\nnext\n");
        assert_eq!(all(&bytes), [Input::TooLong, line("next")]);
    }
}
