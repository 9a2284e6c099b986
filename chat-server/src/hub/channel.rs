//! Which channel of a connection carries which conversation.
//!
//! Ordered messages of one channel are delivered in order, so each conversation gets its own. The number of channels is
//! bounded; beyond it conversations share one, which only means that they wait for each other's lost packets.
//!
//! What its author wanted unordered goes out unordered, on a second channel of the conversation, where a lost line of it
//! holds up none in order. What its author wanted latest-only goes out unordered too: several authors share a channel, and
//! the newest of one must not replace the newest of another.

use chat_core::{Delivery, Order};

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
    1 + ROOMS + u32::try_from(slot).expect("a remainder below 250")
}

/// The channel on which a line of this order leaves, and how it is delivered.
pub(super) fn for_order(channel: u32, order: Order) -> (u32, Delivery) {
    match order {
        Order::Ordered => (channel, Delivery::default()),
        Order::Unordered | Order::Latest => (channel + ROOMS + SENDERS, Delivery::UNORDERED),
    }
}

/// Twice these and the channel 0 stay below the 1,024 channels of a connection.
const ROOMS: u32 = 250;
const SENDERS: u32 = 250;
