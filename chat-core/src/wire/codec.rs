//! The two ways to put frames down, by the names under which a handshake speaks of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a peer is written to. Whatever was agreed, a receiver reads both: the first byte of a packet tells them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// For people, and for clients in a dozen lines of any language.
    #[default]
    Json,
    /// The same frames in fewer bytes and less time.
    Binary,
}

impl Codec {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Binary => "binary",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        match name {
            "json" => Ok(Self::Json),
            "binary" => Ok(Self::Binary),
            _ => Err(UnknownCodec { name: super::excerpt(name) }),
        }
    }
}

/// A codec that is not spoken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("codec \"{name}\" is not spoken here; use json or binary")]
pub struct UnknownCodec {
    name: String,
}
