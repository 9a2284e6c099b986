//! The `content` of a frame: JSON text that the transport carries and never reads.
//!
//! It is kept as text behind an [`Arc`], so that a room message is serialised once and shared by every recipient's
//! queue, and so that the transport can cut it into fragments.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One JSON value, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(Arc<str>);

impl Content {
    /// Serialises `value`. Maps must have string keys, as in all of [`crate::message`].
    ///
    /// # Panics
    /// If `value` cannot be JSON (a map with other keys); only a programming error can cause that.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::to_string(value).expect("contents are plain structs").into())
    }

    /// Takes text that is known to be one JSON value.
    #[must_use]
    pub fn from_json(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Checks that `text` is one JSON value. What reassembled fragments must pass.
    pub fn checked(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<serde::de::IgnoredAny>(&text)?;
        Ok(Self(text.into()))
    }

    /// Reads the value as `T`; unknown fields are ignored.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
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
        f.write_str(&self.0)
    }
}
