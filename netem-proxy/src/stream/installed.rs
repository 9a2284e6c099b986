//! A toxic as the connections of a proxy see it.

use std::sync::Arc;

use super::chain::SharedRate;
use super::toxic::{Toxic, ToxicKind, count};

/// A toxic on a proxy. A change makes a new value with the same `id` and the next `version`.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    /// Never used again within a proxy, so that a toxic removed and added anew is another one.
    pub(super) id: u64,
    pub(super) version: u64,
    pub(super) toxic: Toxic,
    /// The rate that all connections draw from, if the toxic has one.
    pub(super) shared: Option<Arc<SharedRate>>,
}

impl Installed {
    pub(super) fn new(id: u64, toxic: Toxic) -> Self {
        let shared = shared_rate(&toxic.kind).map(|rate| Arc::new(SharedRate::new(rate)));
        Self { id, version: 0, toxic, shared }
    }

    /// The same toxic with other attributes. A shared rate stays the same object; its new rate is set by the caller,
    /// who knows the time.
    pub(super) fn updated(&self, kind: ToxicKind, toxicity: f32) -> Self {
        let shared = match (shared_rate(&kind), &self.shared) {
            (None, _) => None,
            (Some(_), Some(shared)) => Some(Arc::clone(shared)),
            (Some(rate), None) => Some(Arc::new(SharedRate::new(rate))),
        };
        let toxic = Toxic { kind, toxicity, ..self.toxic.clone() };
        Self { id: self.id, version: self.version + 1, toxic, shared }
    }
}

/// Bytes a second, for a bandwidth toxic that is shared.
pub(super) fn shared_rate(kind: &ToxicKind) -> Option<u64> {
    match *kind {
        ToxicKind::Bandwidth { rate_kbps, shared: true } => Some(count(rate_kbps).saturating_mul(1000)),
        _ => None,
    }
}
