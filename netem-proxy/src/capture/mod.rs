//! Packets of a live run as a pcapng file, with what the link decided about each as a comment.
//!
//! `tshark -r run.pcapng` or Wireshark show every packet at either side of the link. Each direction has three interfaces:
//! **in**, before the link, at the time of arrival; **out**, behind it, at the time of release; **dropped**, when
//! and why. (A packet that is dropped is on neither side, so it has a place of its own; `frame.interface_name`
//! filters.) Timestamps are nanoseconds, comments name link, packet number and verdict:
//!
//! ```text
//! flow/0/up packet 17
//! flow/0/up packet 17 dropped: loss (entry)
//! flow/0/up packet 18 delivered: due +50.000000 ms, late 3.1 µs, corrupt bit 113
//! ```
//!
//! **Headers.** IP packets are written as they are. Relays know payloads only; around these stand IPv4 or IPv6 and
//! UDP or TCP headers made of the flow's addresses, client and upstream as if there were no proxy between. Lengths,
//! checksums and ECN bits are right; a frame is one TCP segment whose sequence number counts the bytes of frames before it, so
//! that a lost one shows as a gap. What does not fit into an IP packet is cut, and the comment says how much.
//!
//! **Bounds.** Chunks wait for the disk in a queue of [`QUEUED_CHUNKS`]; when it is full, packets are missing from the
//! file, never from the network. They are counted in the file's statistics and in [`CaptureSummary::lost`].
//!
//! [`pcapng`](Encoder) is the format (draft-ietf-opsawg-pcapng), without I/O; [`CaptureFile`] is the file and its
//! thread; [`Capture`] the observer of one driver.

mod file;
mod headers;
mod observer;
mod pcapng;
#[cfg(test)]
mod tests;

pub use file::{CaptureFile, CaptureSummary, QUEUED_CHUNKS};
pub use headers::{Addresses, Transport, wrap};
pub use observer::{Capture, Captured};
pub use pcapng::{Encoder, Packet, Side};
