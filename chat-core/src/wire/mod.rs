//! Bytes on the wire: the frame, and how frames are told apart.
//!
//! [`frame`] is the body: one JSON object with its checksum; [`binary`] puts the same frames down in fewer bytes. [`framing`] puts bodies on a byte stream behind a 4-byte
//! length; [`datagram`] puts them, the same way, behind a small header into one datagram; [`packet`] is what of them
//! shares one fate and one packet number. Nothing here allocates by a
//! length that a peer wrote before that length was checked.

pub mod binary;
pub mod codec;
pub mod content;
pub mod datagram;
pub mod ecn;
pub mod frame;
pub mod framing;
pub mod label;
pub mod packet;
pub mod varint;

pub use binary::{Origin, Protection};
pub use codec::{Codec, UnknownCodec};
pub use content::Content;
pub use ecn::EcnCounts;
pub use frame::{DecodeError, Fragment, Frame, MsgType, Order, Priority, excerpt};
pub use framing::{FrameReader, FramingError};
pub use label::Label;
pub use packet::{Packet, PacketForm, PacketWriter};

/// Largest frame body accepted by default, in bytes. A larger length closes the connection before memory is taken.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
