//! One direction of a link as it was written, word by word, so that a change can name one key and leave the others.

use std::fmt;

use serde_json::Value;

use super::error::ApiError;
use crate::profile::LinkProfile;
use crate::spec::names_file;

/// The words of a SPEC, and what they mean.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Written {
    words: Vec<String>,
    /// Understood when it was written: a file that a word names may be gone later.
    profile: LinkProfile,
}

/// Who wrote a SPEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// Somebody who can read the files of this machine anyway.
    Local,
    /// A client of the API, who must not: SPECs that name files are refused.
    Remote,
}

impl Written {
    /// # Errors
    /// 400, beginning with `at`: the name of the field.
    pub(super) fn parse(text: &str, at: &str, writer: Writer) -> Result<Self, ApiError> {
        let words = words(text);
        refuse_files(&words, at, writer)?;
        understand(words, at)
    }

    pub(super) fn profile(&self) -> LinkProfile {
        self.profile.clone()
    }

    /// With another SPEC whose keys win.
    pub(super) fn under(&self, text: &str, at: &str, writer: Writer) -> Result<Self, ApiError> {
        let new = words(text);
        refuse_files(&new, at, writer)?;
        let is_named = |word: &String| new.iter().any(|other| key(other) == key(word));
        let kept = self.words.iter().filter(|word| !is_named(word)).cloned();
        understand(kept.chain(new.clone()).collect(), at)
    }

    /// With what a change says: a SPEC whose keys win, or an object of keys, where `null` takes a key away and an array
    /// repeats one. A SPEC of `none` clears the link.
    pub(super) fn merged(&self, change: &Value, at: &str) -> Result<Self, ApiError> {
        match change {
            Value::Null => Ok(self.clone()),
            Value::String(text) if words(text).is_empty() => Ok(Self::default()),
            Value::String(text) => self.under(text, at, Writer::Remote),
            Value::Object(keys) => {
                let mut new = Vec::new();
                for (name, value) in keys {
                    new.extend(values(name, value, at)?);
                }
                refuse_files(&new, at, Writer::Remote)?;
                let kept = self.words.iter().filter(|word| !keys.contains_key(key(word))).cloned();
                understand(kept.chain(new).collect(), at)
            }
            _ => {
                const EXAMPLE: &str = "write \"loss=1%\" or {\"loss\": \"1%\"}";
                let text = format!("{at}: it is neither a SPEC nor an object of keys; {EXAMPLE}");
                Err(ApiError::bad_request(text))
            }
        }
    }
}

fn understand(words: Vec<String>, at: &str) -> Result<Written, ApiError> {
    match words.join(" ").parse::<LinkProfile>() {
        Ok(profile) => Ok(Written { words, profile }),
        Err(error) => Err(ApiError::bad_request(format!("{at}: {error}"))),
    }
}

fn refuse_files(words: &[String], at: &str, writer: Writer) -> Result<(), ApiError> {
    // As one text: `trace (FILE)` is two words here and one value there.
    if writer == Writer::Remote && names_file(&words.join(" ")) {
        const WHY: &str = "a file of the server's machine cannot be named over HTTP; write it into the server's --config file";
        return Err(ApiError::bad_request(format!("{at}: {WHY}")));
    }
    Ok(())
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.words.is_empty() { f.write_str(NONE) } else { f.write_str(&self.words.join(" ")) }
    }
}

fn key(word: &str) -> &str {
    word.split_once('=').map_or(word, |(key, _)| key)
}

/// The words that one key of an object stands for.
fn values(name: &str, value: &Value, at: &str) -> Result<Vec<String>, ApiError> {
    match value {
        Value::Null => Ok(Vec::new()),
        // Within a SPEC a blank would begin another word.
        Value::String(text) if is_one_word(text) => Ok(vec![format!("{name}={}", text.trim())]),
        Value::Array(all) => {
            let each: Result<Vec<_>, _> = all.iter().map(|value| values(name, value, at)).collect();
            Ok(each?.concat())
        }
        other => {
            let text = format!(
                "{at}.{name}: {other} is not a value; write a text as in a SPEC, or null to take it away"
            );
            Err(ApiError::bad_request(text))
        }
    }
}

fn is_one_word(text: &str) -> bool {
    words(text).len() == 1
}

/// Split at blanks outside parentheses; `none` and nothing have no words.
fn words(text: &str) -> Vec<String> {
    let text = text.trim();
    if text == NONE {
        return Vec::new();
    }
    let mut depth = 0_usize;
    let mut all = vec![String::new()];
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && c.is_whitespace() {
            all.push(String::new());
        } else if let Some(word) = all.last_mut() {
            word.push(c);
        }
    }
    all.retain(|word| !word.is_empty());
    all
}

const NONE: &str = "none";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(base: &str, change: &Value) -> Result<String, ApiError> {
        Ok(Written::parse(base, "up", Writer::Local)?.merged(change, "up")?.to_string())
    }

    #[test]
    fn a_change_names_keys_and_leaves_the_others() {
        let base = "loss=ge(p=1%, r=30%) delay=20ms blackout=1s+1s blackout=5s+1s";
        for (change, after) in [
            (json!("delay=50ms"), "loss=ge(p=1%, r=30%) blackout=1s+1s blackout=5s+1s delay=50ms"),
            (json!({"loss": null, "jitter": "5ms"}), "delay=20ms blackout=1s+1s blackout=5s+1s jitter=5ms"),
            (json!({"blackout": ["2s+1s"]}), "loss=ge(p=1%, r=30%) delay=20ms blackout=2s+1s"),
            (json!("none"), "none"),
            (json!(""), "none"),
            (json!({}), base),
            (json!(null), base),
        ] {
            assert_eq!(merged(base, &change).as_deref(), Ok(after), "{change}");
        }
    }

    #[test]
    fn a_wrong_change_says_where_and_what_to_write() {
        const FILES: &str = "up: a file of the server's machine cannot be named over HTTP; write it into the server's --config file";
        for (change, text) in [
            (json!({"delay": "trace(/etc/passwd)"}), FILES),
            (json!("loss=list(1) delay=trace (/etc/passwd)"), FILES),
            (json!({"loss": "120%"}), "up: column 12: loss: \"120%\" is not a probability; write 0% to 100%"),
            (
                json!({"loss": 0.1}),
                "up.loss: 0.1 is not a value; write a text as in a SPEC, or null to take it away",
            ),
            (
                json!({"loss": "1% delay=2ms"}),
                "up.loss: \"1% delay=2ms\" is not a value; write a text as in a SPEC, or null to take it away",
            ),
            (
                json!(7),
                "up: it is neither a SPEC nor an object of keys; write \"loss=1%\" or {\"loss\": \"1%\"}",
            ),
        ] {
            assert_eq!(merged("delay=20ms", &change).expect_err("wrong").message, text);
        }
    }
}
