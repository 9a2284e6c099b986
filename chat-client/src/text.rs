//! Text of others on its way to a screen: whatever a terminal would act on is made visible instead.
//!
//! A terminal obeys what it prints: escape sequences move the cursor, rename windows, and answer as if typed; a
//! bidirectional override shows words in an order in which they were not written (CVE-2021-42574). So each such
//! character is replaced before printing, one for one, and never dropped: a person should see that something was there.
//! Combining and zero-width characters stay, because scripts need them.

use std::borrow::Cow;

/// `text` on one line, without anything that a terminal would act on.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_active) { text.chars().map(visible).collect() } else { text.into() }
}

/// A JSON document on one line in which every such character is written as an escape: the same document for a program,
/// harmless for a terminal. JSON has them in strings only.
pub(crate) fn safe_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_active) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_active(character) {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            out.push(character);
        }
    }
    out.into()
}

/// At most `limit` characters of `text`, safe, with an ellipsis for the rest.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    let safe = safe(text);
    if safe.chars().count() <= limit {
        return safe.into_owned();
    }
    safe.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// Control characters, line and paragraph separators, embeddings, overrides and isolates.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        // The control pictures of Unicode, in the order of ASCII: ␛ for escape, ␊ for a line feed.
        '\0'..='\u{1f}' => {
            char::from_u32(0x2400 + u32::from(character)).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        '\u{7f}' => '␡',
        other if is_active(other) => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_line_feeds_become_visible() {
        assert_eq!(safe("a\u{1b}[31mred\r\nb\tc\u{7f}"), "a␛[31mred␍␊b c␡");
    }

    #[test]
    fn c1_controls_and_bidi_overrides_are_replaced_one_for_one() {
        assert_eq!(safe("\u{9b}31m \u{202e}abc\u{2069}\u{2028}"), "\u{fffd}31m \u{fffd}abc\u{fffd}\u{fffd}");
    }

    #[test]
    fn scripts_of_the_world_stay_as_they_are() {
        let text = "jürgen שלום مرحبا 👩‍🚀 नमस्ते";
        assert!(matches!(safe(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "x\u{9b}\u{202e}\u{7f}\u{1b}";
        let json = serde_json::to_string(text).unwrap();
        let safe = safe_json(&json);
        assert!(!safe.chars().any(is_active));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }

    #[test]
    fn a_long_text_is_cut_with_an_ellipsis() {
        assert_eq!(excerpt("abcdef", 4), "abc…");
        assert_eq!(excerpt("abcd", 4), "abcd");
    }
}
