//! What happened to the links of a live run, written down so that it can be repeated.
//!
//! A link's verdicts are a function of its profile, its seed and the arrivals. So a log of these three
//! repeats a run offline, packet for packet and nanosecond for nanosecond, whatever the timing of the machine was;
//! the log holds the live verdicts too, so that a difference shows at its first packet.
//!
//! - [`record`](Record) and `block` are the format: binary, with a checksum for each block of 64 KiB. A packet takes
//!   some 13 bytes, arrival and verdict together, where a line of JSON would take a hundred; the driver only appends them to
//!   a buffer, and a thread of its own checks, hashes and writes.
//! - [`Journal`] is the file and its thread, [`Recorder`] the observer that fills it.
//! - [`LogReader`] reads a log, [`Replay`] repeats it.
//! - [`Verdict`] is what is compared, [`Digest`] its fingerprint.
//!
//! **Bounds.** Blocks wait for the disk in a queue of [`QUEUED_BLOCKS`]. When it is full, the rest of that driver's
//! records is not written: the log ends there with a gap, and says so, since a run with a hole cannot be repeated
//! beyond it. The driver never waits.
//!
//! Left out: payloads. A link never looks into them; [`crate::capture`] keeps them.

mod block;
mod book;
mod portable;
mod record;
mod recorder;
mod replay;
#[cfg(test)]
mod tests;
mod varint;
mod verdict;

pub use block::{LogError, LogReader, MAX_BLOCK, VERSION};
pub use portable::{Portable, Unportable};
pub use record::{Record, StreamSummary};
pub use recorder::{Journal, JournalSummary, QUEUED_BLOCKS, Recorder};
pub use replay::{Comparison, Difference, LinkRef, Replay, ReplayError, ReplayReport, Substitute};
pub use verdict::{Digest, Fate, RunDigest, Verdict, VerdictDigest, cause_name};
