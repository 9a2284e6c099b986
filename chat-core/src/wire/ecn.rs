//! Counts of ECN codepoints, as acks report them (RFC 9000 section 13.4).

use serde::{Deserialize, Serialize};

use crate::path::Ecn;

/// Numbered packets that arrived with each codepoint, since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "[u64; 3]", into = "[u64; 3]")]
pub struct EcnCounts {
    pub ect0: u64,
    pub ect1: u64,
    pub ce: u64,
}

impl EcnCounts {
    pub fn count(&mut self, ecn: Ecn) {
        match ecn {
            Ecn::NotEct => {}
            Ecn::Ect1 => self.ect1 += 1,
            Ecn::Ect0 => self.ect0 += 1,
            Ecn::Ce => self.ce += 1,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<[u64; 3]> for EcnCounts {
    fn from([ect0, ect1, ce]: [u64; 3]) -> Self {
        Self { ect0, ect1, ce }
    }
}

impl From<EcnCounts> for [u64; 3] {
    fn from(counts: EcnCounts) -> Self {
        [counts.ect0, counts.ect1, counts.ce]
    }
}
