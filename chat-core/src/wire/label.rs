//! The short texts of a frame: who says it, and what it is called.
//!
//! A frame has two of them and lives for microseconds, so a short text is kept in place: making, cloning and dropping it
//! touches no allocator and no counter that another thread shares, and it holds no received buffer in memory. A long one
//! is shared.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text of a `msg_id` or a `sender`; cheap to clone.
#[derive(Clone)]
pub struct Label(Repr);

#[derive(Clone)]
enum Repr {
    /// UTF-8 in the first `length` bytes.
    Inline {
        length: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Shared(Arc<str>),
}

impl Label {
    pub const EMPTY: Label = Label(Repr::Inline { length: 0, bytes: [0; INLINE_BYTES] });

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Shared(text) => text.as_bytes(),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Inline { .. } => std::str::from_utf8(self.as_bytes()).expect("it was made from a str"),
            Repr::Shared(text) => text,
        }
    }

    /// Bytes of the text.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `prefix`, `separator` and a decimal number behind them.
    #[must_use]
    pub fn numbered(prefix: &str, separator: &str, number: u64) -> Self {
        let mut digits = [0; MAX_DIGITS];
        let mut at = MAX_DIGITS;
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let parts = [prefix.as_bytes(), separator.as_bytes(), &digits[at..]];
        if parts.iter().map(|part| part.len()).sum::<usize>() > INLINE_BYTES {
            return Self(Repr::Shared(format!("{prefix}{separator}{number}").into()));
        }
        let mut bytes = [0; INLINE_BYTES];
        let mut end = 0;
        for part in parts {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        Self(Repr::Inline { length: u8::try_from(end).expect("compared above"), bytes })
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        if text.len() > INLINE_BYTES {
            return Self(Repr::Shared(text.into()));
        }
        let mut bytes = [0; INLINE_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self(Repr::Inline { length: u8::try_from(text.len()).expect("compared above"), bytes })
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Arc<str>> for Label {
    fn from(text: Arc<str>) -> Self {
        if text.len() > INLINE_BYTES { Self(Repr::Shared(text)) } else { (&*text).into() }
    }
}

impl From<&Arc<str>> for Label {
    fn from(text: &Arc<str>) -> Self {
        text.clone().into()
    }
}

impl From<Label> for Arc<str> {
    fn from(label: Label) -> Self {
        match label.0 {
            Repr::Shared(text) => text,
            Repr::Inline { .. } => label.as_str().into(),
        }
    }
}

impl Default for Label {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Deref for Label {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Label {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Label {}

impl PartialEq<str> for Label {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Label {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok((&*text).into())
    }
}

/// Kept in place up to this length: the longest that leaves a label at 32 bytes, and longer than nearly every name.
const INLINE_BYTES: usize = 30;
/// Decimal digits of a `u64`.
const MAX_DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_label_is_no_larger_than_32_bytes() {
        assert_eq!(size_of::<Label>(), 32);
    }

    proptest! {
        #[test]
        fn a_label_is_its_text(text in ".{0,50}", other in ".{0,50}", number: u64) {
            let label = Label::from(text.as_str());
            prop_assert_eq!(&*label, text.as_str());
            prop_assert_eq!(label.cmp(&Label::from(other.as_str())), text.cmp(&other));
            prop_assert_eq!(&*Label::from(Arc::<str>::from(text.as_str())), text.as_str());
            let shared: Arc<str> = label.into();
            prop_assert_eq!(&*shared, text.as_str());
            prop_assert_eq!(&*Label::numbered(&text, "-", number), format!("{text}-{number}"));
        }
    }
}
