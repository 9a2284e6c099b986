//! Which user and room names are allowed.
//!
//! Names appear in terminals, logs, file names and other people's clients, so they are kept plain: letters and digits of
//! any script, and `_ - .`. Nothing that a terminal would interpret, nothing invisible.

use std::sync::Arc;

/// Longest user name, in characters.
pub const MAX_USER_CHARS: usize = 32;
/// Longest room name, in characters.
pub const MAX_ROOM_CHARS: usize = 64;
/// The name under which a server speaks; no user can have it.
pub const SERVER: &str = "server";

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a {what} name needs at least one character")]
    Empty { what: &'static str },
    #[error("a {what} name has at most {limit} characters, this one {length}")]
    TooLong { what: &'static str, limit: usize, length: usize },
    #[error("a {what} name has letters, digits, '_', '-' and '.' only, not {character:?}")]
    Character { what: &'static str, character: char },
    #[error("the name \"{name}\" is reserved")]
    Reserved { name: String },
}

/// Checks a user name.
pub fn user(name: &str) -> Result<Arc<str>, NameError> {
    check("user", name, MAX_USER_CHARS)?;
    if name.eq_ignore_ascii_case(SERVER) {
        return Err(NameError::Reserved { name: name.to_owned() });
    }
    Ok(name.into())
}

/// Checks a room name.
pub fn room(name: &str) -> Result<Arc<str>, NameError> {
    check("room", name, MAX_ROOM_CHARS)?;
    Ok(name.into())
}

fn check(what: &'static str, name: &str, limit: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    let length = name.chars().count();
    if length > limit {
        return Err(NameError::TooLong { what, limit, length });
    }
    match name.chars().find(|&c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))) {
        Some(character) => Err(NameError::Character { what, character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_of_any_script_are_allowed() {
        for name in ["alice", "Bob_2", "jürgen", "Мария", "a.b-c"] {
            assert_eq!(user(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn names_that_could_deceive_a_terminal_are_refused() {
        for name in ["", "a b", "a\u{1b}[31m", "a\nb", "a\u{202e}b", "server", "Server", &"x".repeat(33)] {
            assert!(user(name).is_err(), "{name:?}");
        }
        assert_eq!(
            user("a\nb").unwrap_err().to_string(),
            "a user name has letters, digits, '_', '-' and '.' only, not '\\n'"
        );
    }
}
