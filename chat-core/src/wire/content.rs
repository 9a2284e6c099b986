//! The `content` of a frame: JSON text that the transport carries and never reads.
//!
//! It is a refcounted slice of bytes, so a room message is serialised once and shared by every recipient's queue, a
//! fragment is a part of the same allocation, and what a binary packet brings is not copied out of it.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One JSON value, or a piece of one, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Bytes);

impl Content {
    /// Serialises `value`. Maps must have string keys, as in all of [`crate::message`].
    ///
    /// # Panics
    /// If `value` cannot be JSON (a map with other keys); only a programming error can cause that.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::to_vec(value).expect("contents are plain structs").into())
    }

    /// Takes text that is known to be one JSON value.
    #[must_use]
    pub fn from_json(text: impl Into<String>) -> Self {
        Self(text.into().into())
    }

    /// `{}`, the content of types that have none.
    #[must_use]
    pub fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// Takes received bytes without copying them. That they are UTF-8 is checked, that they are JSON shows when they are
    /// read.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// Checks that `text` is one JSON value. What reassembled fragments must pass.
    pub fn checked(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<serde::de::IgnoredAny>(&text)?;
        Ok(Self(text.into()))
    }

    /// Reads the value as `T`; unknown fields are ignored.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The text. Checked again by each call: for people, fragments in JSON and tests; what is sent takes
    /// [`Self::as_bytes`].
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("every constructor has checked it")
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A part of the text in the same allocation.
    ///
    /// # Panics
    /// If the range is not within the text, or cuts a character.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let part = self.0.slice(range);
        Self::from_utf8(part).expect("pieces are cut between characters")
    }

    /// The same text in memory of its own. For what is kept long: a slice keeps the whole packet that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
