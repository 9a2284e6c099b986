//! The prompt: the same commands as on the command line, one after the other.
//!
//! A plain loop over lines; editing is the terminal's own. A command that fails says why and the prompt goes on.

use std::io::{self, BufRead, Write};

use clap::Parser;

use crate::ask::Server;
use crate::cli::Command;
use crate::failure::Failure;
use crate::run;

// A line as a command; clap would print a doc comment here as help.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_version_flag = true, disable_help_flag = true)]
struct Line {
    #[command(subcommand)]
    entry: Entry,
}

#[derive(Debug, clap::Subcommand)]
enum Entry {
    #[command(flatten)]
    Do(Command),
    /// Leave the prompt.
    #[command(alias = "exit")]
    Quit,
}

/// Runs until the input ends or someone leaves.
pub(crate) fn run(server: &Server, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}: help lists the commands, quit leaves", server.authority())?;
    let mut input = io::stdin().lock();
    loop {
        write!(out, "admin> ")?;
        out.flush()?;
        let mut text = String::new();
        if input.read_line(&mut text)? == 0 {
            writeln!(out)?;
            return Ok(());
        }
        let words = match split(&text) {
            Ok(words) if words.is_empty() => continue,
            Ok(words) => words,
            Err(problem) => {
                writeln!(out, "error: {problem}")?;
                continue;
            }
        };
        match Line::try_parse_from(words) {
            Ok(Line { entry: Entry::Quit }) => return Ok(()),
            Ok(Line { entry: Entry::Do(command) }) => match run::command(server, &command, json, &mut out) {
                Err(Failure::ClosedPipe) => return Err(Failure::ClosedPipe),
                Err(failure) => writeln!(out, "error: {failure}")?,
                Ok(()) => {}
            },
            // Help is an error to clap, too; its text is what was asked for.
            Err(error) => write!(out, "{error}")?,
        }
    }
}

/// Words of a line; quotes of either kind keep words together.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.trim().chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    match quote {
        Some(open) => Err(format!("the quote {open} is not closed")),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(
            split("kick alice --reason 'too loud'\n"),
            Ok(words(&["kick", "alice", "--reason", "too loud"]))
        );
        assert_eq!(split(r#"broadcast "it's noon" now"#), Ok(words(&["broadcast", "it's noon", "now"])));
        assert_eq!(split("kick ''"), Ok(words(&["kick", ""])));
        assert_eq!(split("  \n"), Ok(Vec::new()));
        assert!(split("broadcast 'open").is_err());
    }

    #[test]
    fn a_line_is_a_command() {
        let parse = |text: &str| Line::try_parse_from(split(text).unwrap()).map(|line| line.entry);
        assert!(matches!(parse("stats"), Ok(Entry::Do(Command::Stats))));
        assert!(matches!(parse("exit"), Ok(Entry::Quit)));
        assert!(matches!(parse("simulate 10 50"), Ok(Entry::Do(Command::Simulate(_)))));
        assert!(parse("dance").is_err());
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }
}
