//! The receiving half: duplicate suppression, order within each channel, reassembly, and the receive window.
//!
//! Messages wait here until the application takes them with `poll_event`; what waits, in order or not, counts against
//! the receive window, so a slow application slows its peer down instead of filling memory.

use std::collections::{BTreeMap, VecDeque};

use units::ByteCount;

use super::{Event, Incoming, SkipContent};
use crate::config::TransportConfig;
use crate::wire::{Content, Frame, MsgType};

#[derive(Debug)]
pub(crate) struct Receiver {
    channels: BTreeMap<u32, Channel>,
    /// Whole messages in delivery order, each with the bytes it holds of the window.
    ready: VecDeque<(Event, u64)>,
    /// Window bytes that arrived out of order.
    held: u64,
    /// Memory that they take; what costs no window costs memory.
    held_memory: u64,
    /// Bytes of messages that are not whole yet, in all channels.
    partial: u64,
    /// Bytes in `ready`.
    waiting: u64,
    /// Bytes the application has taken, ever.
    taken: u64,
}

/// Receiving state of one channel.
#[derive(Debug, Default)]
struct Channel {
    /// Sequence numbers up to this one have been passed on.
    delivered: u64,
    out_of_order: BTreeMap<u64, Frame>,
    /// Pieces of a message that is not whole yet.
    partial: String,
    pieces: u32,
}

/// What became of a numbered message frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    New,
    Duplicate,
    /// No room within the bounds: it must not be acknowledged, the peer will send it again.
    NoRoom,
    /// The peer opened more channels than it may.
    TooManyChannels,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            channels: BTreeMap::new(),
            ready: VecDeque::new(),
            held: 0,
            held_memory: 0,
            partial: 0,
            waiting: 0,
            taken: 0,
        }
    }

    /// Takes a frame with a sequence number.
    pub(crate) fn on_message(&mut self, config: &TransportConfig, mut frame: Frame) -> Received {
        if frame.msg_type == MsgType::Skip {
            // All that matters of it is a number; a peer may have written anything beside it.
            frame.content = Content::of(&SkipContent { bytes: window_cost(&frame) });
        }
        if !self.channels.contains_key(&frame.channel) && self.channels.len() >= config.max_channels {
            return Received::TooManyChannels;
        }
        let channel = self.channels.entry(frame.channel).or_default();
        let sequence = frame.sequence_number;
        if sequence <= channel.delivered || channel.out_of_order.contains_key(&sequence) {
            return Received::Duplicate;
        }
        let size = window_cost(&frame);
        let in_order = sequence == channel.delivered + 1;
        let used = self.held + self.waiting;
        // The frame that closes the hole always fits: refusing it could never make room.
        if !in_order && used + size > config.receive_window.as_u64() {
            return Received::NoRoom;
        }
        let memory_bound = 2 * config.receive_window.as_u64() + FRAME_MEMORY;
        if !in_order && self.held_memory + memory(&frame) > memory_bound {
            return Received::NoRoom;
        }
        self.held += size;
        self.held_memory += memory(&frame);
        channel.out_of_order.insert(sequence, frame);
        while let Some(next) = channel.out_of_order.remove(&(channel.delivered + 1)) {
            channel.delivered += 1;
            let cost = window_cost(&next);
            self.held -= cost;
            self.held_memory -= memory(&next);
            let before = channel.partial.len() as u64;
            let room = MAX_PARTIAL_MESSAGES * config.max_message.as_u64() - (self.partial - before);
            let event = channel.assemble(next, room.min(config.max_message.as_u64()));
            self.partial = self.partial - before + channel.partial.len() as u64;
            match event {
                Some(event) => {
                    self.waiting += cost;
                    self.ready.push_back((event, cost));
                }
                None => self.taken += cost,
            }
        }
        Received::New
    }

    /// Takes a message without a sequence number: it is passed on as it comes.
    pub(crate) fn on_unnumbered(&mut self, frame: Frame) {
        let content = frame.content.clone();
        // Only numbered bytes are part of the window's count.
        self.ready.push_back((Event::Message(incoming(frame, content)), 0));
    }

    pub(crate) fn push_event(&mut self, event: Event) {
        self.ready.push_back((event, 0));
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let (event, cost) = self.ready.pop_front()?;
        self.waiting -= cost;
        self.taken += cost;
        Some(event)
    }

    /// Right edge of the receive window: the total of message bytes that the peer may have sent.
    pub(crate) fn window_end(&self, receive_window: ByteCount) -> u64 {
        self.taken + receive_window.as_u64()
    }
}

impl Channel {
    /// The next frame in order; gives a message when it is whole. `limit` bounds what is put together, in bytes.
    fn assemble(&mut self, frame: Frame, limit: u64) -> Option<Event> {
        if frame.msg_type == MsgType::Skip {
            self.partial.clear();
            self.pieces = 0;
            return Some(Event::Skipped { channel: frame.channel, sequence_number: frame.sequence_number });
        }
        let Some(fragment) = frame.fragment else {
            let content = frame.content.clone();
            return Some(Event::Message(incoming(frame, content)));
        };
        let too_long = (self.partial.len() + frame.content.len()) as u64 > limit;
        if fragment.index != self.pieces || too_long {
            self.partial.clear();
            self.pieces = 0;
            // Pieces that follow a refused one are dropped with it; the peer is told once, at the first.
            let reason = if too_long { "message is larger than the limit" } else { "a fragment is missing" };
            return (fragment.index == 0 || too_long)
                .then(|| Event::Refused { msg_id: frame.msg_id.clone(), reason: reason.to_owned() });
        }
        self.partial.push_str(frame.content.as_str());
        self.pieces += 1;
        if self.pieces < fragment.count {
            return None;
        }
        self.pieces = 0;
        match Content::checked(std::mem::take(&mut self.partial)) {
            Ok(content) => Some(Event::Message(incoming(frame, content))),
            Err(error) => Some(Event::Refused {
                msg_id: frame.msg_id,
                reason: format!("the joined fragments are not JSON: {error}"),
            }),
        }
    }
}

fn incoming(frame: Frame, content: Content) -> Incoming {
    Incoming {
        msg_id: frame.msg_id,
        msg_type: frame.msg_type,
        sender: frame.sender,
        content,
        timestamp_us: frame.timestamp_us,
        priority: frame.priority,
        channel: frame.channel,
        order: frame.order,
    }
}

/// Bytes a frame takes of the window: those of its content. A `skip` stands for the bytes it replaced.
fn window_cost(frame: &Frame) -> u64 {
    if frame.msg_type == MsgType::Skip {
        return frame
            .content
            .parse::<super::SkipContent>()
            .map_or(0, |skip| skip.bytes.min(MAX_SKIPPED_BYTES));
    }
    frame.content.len() as u64
}

/// No fragment is larger than a frame, so no skip stands for more; a peer that says so only hurts its own window.
const MAX_SKIPPED_BYTES: u64 = crate::wire::MAX_FRAME_BYTES as u64;
/// Memory of a held frame, about.
fn memory(frame: &Frame) -> u64 {
    FRAME_MEMORY + frame.content.len() as u64
}

/// What a frame takes beside its content, names and map entry included.
const FRAME_MEMORY: u64 = 256;
/// Largest messages that may be half received at once, over all channels.
const MAX_PARTIAL_MESSAGES: u64 = 4;
