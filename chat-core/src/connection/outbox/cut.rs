//! Cutting a message so that each frame fits the segment size.

use smallvec::{SmallVec, smallvec};
use units::ByteCount;

use super::Outgoing;
use crate::wire::{Content, Order};

/// The pieces of a message; nearly always one.
pub(super) type Pieces = SmallVec<[Content; 1]>;

/// Cuts the content so that each frame fits the segment size; one piece if it fits whole.
///
/// `names` is [`names_len`] of it.
pub(super) fn cut(message: &Outgoing, names: usize, mss: ByteCount) -> Pieces {
    let mss = mss.as_u64() as usize;
    let room = mss.saturating_sub(ENVELOPE_BYTES + names).max(MIN_PIECE_BYTES);
    if message.content.len() <= room {
        return smallvec![message.content.clone()];
    }
    let text = message.content.as_str();
    let mut pieces = Pieces::new();
    let (mut start, mut cost) = (0, 0);
    for (at, character) in text.char_indices() {
        let escaped = escaped_len(character);
        if cost + escaped > room - FRAGMENT_BYTES {
            pieces.push(Content::from_json(&text[start..at]));
            (start, cost) = (at, 0);
        }
        cost += escaped;
    }
    pieces.push(Content::from_json(&text[start..]));
    pieces
}

/// The parts of the envelope that differ between messages.
pub(super) fn names_len(message: &Outgoing) -> usize {
    let order = if message.delivery.order == Order::Ordered { 0 } else { ORDER_BYTES };
    let names = [message.msg_id.as_bytes(), message.sender.as_bytes(), message.msg_type.as_str().as_bytes()];
    // What is escaped is ASCII, so bytes may be counted for characters.
    names
        .into_iter()
        .flatten()
        .map(|&byte| if byte < 0x80 { escaped_len(char::from(byte)) } else { 1 })
        .sum::<usize>()
        + order
}

/// Bytes of a character within a JSON string.
fn escaped_len(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        control if control < ' ' => 6,
        other => other.len_utf8(),
    }
}

/// The envelope without names and content: 155 bytes of fields, and room for sequence and packet numbers of ten digits
/// and channels of four. A session that passes ten billion packets sends datagrams a few bytes larger.
const ENVELOPE_BYTES: usize = 180;
/// The envelope with numbers of usual length, to ask whether a frame fits the congestion window.
pub(super) const TYPICAL_ENVELOPE_BYTES: usize = 165;
/// The order field where it is not left out.
const ORDER_BYTES: usize = 20;
/// The fragment field and the quotes of the piece.
const FRAGMENT_BYTES: usize = 56;
/// However small the segment size: pieces must make progress.
const MIN_PIECE_BYTES: usize = FRAGMENT_BYTES + 64;
