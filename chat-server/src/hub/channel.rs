//! Which channel of a connection carries which conversation.
//!
//! Messages of one channel are delivered in order, so each conversation gets its own. The number of channels is bounded;
//! beyond it conversations share one, which only means that they wait for each other's lost packets.

use super::SessionId;

/// Replies and announcements.
pub(super) const CONTROL: u32 = 0;

/// Lines of the room with this number.
pub(super) fn of_room(number: u32) -> u32 {
    1 + number % ROOMS
}

/// What this user says to one other, or to all.
pub(super) fn of_sender(sender: SessionId) -> u32 {
    let slot = sender.0 % u64::from(SENDERS);
    1 + ROOMS + u32::try_from(slot).expect("a remainder below 500")
}

/// With the channel 0 these stay below the 1,024 channels of a connection.
const ROOMS: u32 = 500;
const SENDERS: u32 = 500;
