//! What a line at the prompt means.
//!
//! Everything but a line that begins with a slash is said in the current room; `//` says a line that begins with one.

use std::sync::Arc;

use chat_core::name;

/// One line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// In the current room.
    Say(String),
    Join(Arc<str>),
    /// `None`: the current room.
    Leave(Option<Arc<str>>),
    Message {
        to: Arc<str>,
        text: String,
    },
    Broadcast(String),
    /// `None`: the current room.
    List(Option<Arc<str>>),
    Rooms,
    Stats,
    Help,
    Quit,
    /// An empty line.
    Nothing,
}

/// Reads one line. The error is a sentence that tells what to type.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim_end();
    let Some(rest) = line.strip_prefix('/') else {
        let said = line.trim_start();
        return Ok(if said.is_empty() { Command::Nothing } else { Command::Say(line.to_owned()) });
    };
    if rest.starts_with('/') {
        return Ok(Command::Say(rest.to_owned()));
    }
    let (verb, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let argument = argument.trim();
    match verb.to_lowercase().as_str() {
        "join" | "j" => required(argument, "/join ROOM").and_then(|room| room_name(&room)).map(Command::Join),
        "leave" | "part" => optional_room(argument).map(Command::Leave),
        "msg" | "m" => message(argument),
        "broadcast" => required(argument, "/broadcast TEXT").map(Command::Broadcast),
        "list" | "who" => optional_room(argument).map(Command::List),
        "rooms" => Ok(Command::Rooms),
        "stats" => Ok(Command::Stats),
        "help" | "?" => Ok(Command::Help),
        "quit" | "q" | "exit" => Ok(Command::Quit),
        unknown => Err(unknown_verb(unknown)),
    }
}

/// One line for each command.
pub(crate) const HELP: &str = "  text                say it in the current room (the one in the prompt)
  //text              say a line that begins with a slash
  /join ROOM          join a room, or switch to it
  /leave [ROOM]       leave a room, the current one if none is named
  /msg USER TEXT      say something to one person
  /broadcast TEXT     say something to everyone on the server
  /list [ROOM]        who is in a room
  /rooms              which rooms there are
  /stats              how the connection is doing
  /quit               say goodbye (Ctrl-D does the same)";

fn required(argument: &str, usage: &str) -> Result<String, String> {
    if argument.is_empty() {
        Err(format!("something is missing; type {usage}"))
    } else {
        Ok(argument.to_owned())
    }
}

fn room_name(room: &str) -> Result<Arc<str>, String> {
    // People write rooms with a '#' as elsewhere; names do not have one here.
    name::room(room.strip_prefix('#').unwrap_or(room)).map_err(|error| error.to_string())
}

fn optional_room(argument: &str) -> Result<Option<Arc<str>>, String> {
    if argument.is_empty() { Ok(None) } else { room_name(argument).map(Some) }
}

fn message(argument: &str) -> Result<Command, String> {
    let (to, text) = argument.split_once(char::is_whitespace).unwrap_or((argument, ""));
    let text = text.trim_start();
    if to.is_empty() || text.is_empty() {
        return Err("something is missing; type /msg USER TEXT".to_owned());
    }
    let to = name::user(to.strip_prefix('@').unwrap_or(to)).map_err(|error| error.to_string())?;
    Ok(Command::Message { to, text: text.to_owned() })
}

fn unknown_verb(verb: &str) -> String {
    let nearest = VERBS.iter().map(|known| (strsim::damerau_levenshtein(verb, known), known)).min();
    let written = crate::text::excerpt(verb, 20);
    match nearest {
        Some((distance, known)) if distance <= MAX_TYPOS => {
            format!("/{written} is not a command; did you mean /{known}?")
        }
        _ => format!("/{written} is not a command; /help lists them, //{written} says it"),
    }
}

const VERBS: [&str; 9] = ["join", "leave", "msg", "broadcast", "list", "rooms", "stats", "help", "quit"];
/// Further away than this, a guess is more puzzling than none.
const MAX_TYPOS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_said_as_written() {
        assert_eq!(parse("hello  there "), Ok(Command::Say("hello  there".to_owned())));
        assert_eq!(parse("  indented"), Ok(Command::Say("  indented".to_owned())));
        assert_eq!(parse("//etc/passwd"), Ok(Command::Say("/etc/passwd".to_owned())));
        assert_eq!(parse("   "), Ok(Command::Nothing));
    }

    #[test]
    fn commands_take_their_arguments() {
        assert_eq!(parse("/join lobby"), Ok(Command::Join("lobby".into())));
        assert_eq!(parse("/JOIN #lobby"), Ok(Command::Join("lobby".into())));
        assert_eq!(parse("/leave"), Ok(Command::Leave(None)));
        assert_eq!(parse("/list dev"), Ok(Command::List(Some("dev".into()))));
        assert_eq!(
            parse("/msg bob  see  you"),
            Ok(Command::Message { to: "bob".into(), text: "see  you".to_owned() })
        );
        assert_eq!(parse("/broadcast hi all"), Ok(Command::Broadcast("hi all".to_owned())));
        assert_eq!(parse("/quit"), Ok(Command::Quit));
    }

    #[test]
    fn what_is_missing_or_wrong_is_answered_with_what_to_type() {
        assert_eq!(parse("/join"), Err("something is missing; type /join ROOM".to_owned()));
        assert_eq!(parse("/msg bob"), Err("something is missing; type /msg USER TEXT".to_owned()));
        assert!(parse("/join a b").unwrap_err().contains("not ' '"));
        assert!(parse("/msg b*b hi").unwrap_err().contains("not '*'"));
    }

    #[test]
    fn an_unknown_command_gets_the_nearest_one() {
        assert_eq!(parse("/jion x"), Err("/jion is not a command; did you mean /join?".to_owned()));
        assert_eq!(
            parse("/boradcast x"),
            Err("/boradcast is not a command; did you mean /broadcast?".to_owned())
        );
        assert!(parse("/frobnicate").unwrap_err().contains("/help lists them"));
        assert!(!parse("/\u{1b}[2J").unwrap_err().contains('\u{1b}'));
    }

    #[test]
    fn the_help_lists_every_command() {
        for verb in VERBS {
            assert!(HELP.contains(&format!("/{verb}")) || verb == "help", "{verb}");
        }
    }
}
