//! What other emulators are told, as links of ours.
//!
//! Each importer reads one foreign form, names what it cannot carry over instead of leaving it out in silence, and says
//! where the same words mean something else here.

pub mod mahimahi;
pub mod netem;
pub mod toxiproxy;

/// A link, and what its reader should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The SPEC.
    pub spec: String,
    /// Whole sentences, each about one word of the original.
    pub notes: Vec<String>,
}
