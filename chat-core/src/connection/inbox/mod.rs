//! The receiving half: duplicate suppression, order as each message asks for it, reassembly, and the receive window.
//!
//! Messages wait here until the application takes them with `poll_event`; what waits, in order or not, counts against
//! the receive window, so a slow application slows its peer down instead of filling memory.

mod channel;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use units::{ByteCount, Timestamp};

use self::channel::{Channel, Completed, Held, incoming, join};
use super::outbox::MAX_SPAN;
use super::{ChannelWindows, Event, SkipContent, Stats};
use crate::config::TransportConfig;
use crate::wire::{Frame, MsgType, Order};

#[derive(Debug)]
pub(crate) struct Inbox {
    /// Boxed: a node of the map has eleven places, and most connections have two channels.
    channels: BTreeMap<u32, Box<Channel>>,
    /// Whole messages in delivery order, each with the channel and the bytes it holds of the window.
    ready: VecDeque<Ready>,
    /// Window bytes that arrived out of order.
    held: u64,
    /// Memory that they take; what costs no window costs memory.
    held_memory: u64,
    /// Memory of the pieces of unordered messages that are not whole.
    pieces_memory: u64,
    /// Bytes of ordered messages that are not whole yet, in all channels.
    partial: u64,
    /// Bytes in `ready`.
    waiting: u64,
    /// Memory of what is in `ready` without being counted in any window: events without content, messages without a
    /// number, and those of several pieces, whose window was given back before they were whole.
    free_memory: u64,
    /// Bytes the application has taken, ever.
    taken: u64,
    /// Channels whose window the peer should hear of, in turn.
    to_tell: VecDeque<u32>,
}

#[derive(Debug)]
struct Ready {
    event: Event,
    channel: u32,
    cost: u64,
    /// What it counts for in `free_memory`.
    memory: u64,
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

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            channels: BTreeMap::new(),
            ready: VecDeque::new(),
            held: 0,
            held_memory: 0,
            pieces_memory: 0,
            partial: 0,
            waiting: 0,
            free_memory: 0,
            taken: 0,
            to_tell: VecDeque::new(),
        }
    }

    /// Takes a frame with a sequence number.
    pub(crate) fn on_message(
        &mut self,
        config: &TransportConfig,
        now: Timestamp,
        frame: Frame,
        stats: &mut Stats,
    ) -> Received {
        let id = frame.channel;
        if !self.channels.contains_key(&id) && self.channels.len() >= config.max_channels {
            return Received::TooManyChannels;
        }
        let channel = self.channels.entry(id).or_default();
        let sequence = frame.sequence_number;
        if channel.knows(sequence) {
            return Received::Duplicate;
        }
        let has_place = frame.order == Order::Ordered || channel.has_place(sequence);
        if sequence > channel.floor() + MAX_SPAN || !has_place {
            return Received::NoRoom;
        }
        let received = match (&frame.msg_type, frame.order) {
            (MsgType::Skip, _) => self.on_skip(config, now, frame),
            (_, Order::Ordered) => self.on_ordered(config, now, frame),
            (_, _) if frame.fragment.is_some() => self.on_piece(config, now, frame, stats),
            (_, order) => {
                let cost = frame.content.len() as u64;
                // An honest peer stays within its window, so it is never refused.
                if self.held + self.waiting + cost > window(config) || !self.has_room_for_free(config, &frame)
                {
                    return Received::NoRoom;
                }
                let message = Event::Message(incoming(frame, Duration::ZERO));
                self.complete(id, sequence, sequence, order, message, cost, stats);
                Received::New
            }
        };
        if received == Received::New {
            self.release(config, now, id);
        }
        received
    }

    fn on_ordered(&mut self, config: &TransportConfig, now: Timestamp, frame: Frame) -> Received {
        let channel = self.channels.entry(frame.channel).or_default();
        if frame.sequence_number == channel.floor() + 1 {
            // What closes the hole may add to what is held: refusing it could never make room. To what waits for the
            // application it may not, as that makes room by itself.
            let has_room = self.waiting + window_cost(&frame) <= window(config)
                && self.has_room_for_free(config, &frame);
            if !has_room {
                return Received::NoRoom;
            }
            let id = frame.channel;
            self.advance(config, now, id, Held::new(now, frame));
            return Received::New;
        }
        if !self.has_room(config, &frame) {
            return Received::NoRoom;
        }
        self.hold(now, frame);
        Received::New
    }

    /// A piece of a message that waits for nothing but its other pieces.
    fn on_piece(
        &mut self,
        config: &TransportConfig,
        now: Timestamp,
        frame: Frame,
        stats: &mut Stats,
    ) -> Received {
        let (id, sequence, order) = (frame.channel, frame.sequence_number, frame.order);
        let Some(fragment) = frame.fragment else {
            return Received::NoRoom;
        };
        // Pieces cost no window while they wait, as those of ordered messages do not: the window might be too small for
        // the whole message. They have a bound of their own, which honest peers keep to.
        let bound = pieces_memory_max(config);
        let first = sequence.saturating_sub(u64::from(fragment.index));
        let channel = self.channels.entry(id).or_default();
        if channel.is_broken(first, u64::from(fragment.count)) {
            // A skip came before it: the message was given up.
            channel.settle(sequence, sequence);
            self.take(id, frame.content.len() as u64);
            return Received::New;
        }
        if self.pieces_memory + memory(&frame) > bound || !self.has_room_for_free(config, &frame) {
            return Received::NoRoom;
        }
        self.pieces_memory += memory(&frame);
        self.take(id, frame.content.len() as u64);
        let channel = self.channels.entry(id).or_default();
        channel.hold(now, frame);
        let Some(pieces) = channel.take_whole(sequence, fragment) else {
            return Received::New;
        };
        self.pieces_memory -= pieces.iter().map(|piece| memory(&piece.frame)).sum::<u64>();
        if let Some(event) = join(pieces) {
            self.complete(id, first, first + u64::from(fragment.count) - 1, order, event, 0, stats);
        }
        Received::New
    }

    /// Its sender gave a message up. All that matters of the frame is numbers; a peer may have written anything beside
    /// them.
    fn on_skip(&mut self, config: &TransportConfig, now: Timestamp, mut frame: Frame) -> Received {
        let skip = frame.content.parse::<SkipContent>().unwrap_or(SkipContent { bytes: 0, count: 1 });
        let bytes = skip.bytes.min(MAX_SKIPPED_BYTES);
        let count = u64::from(skip.count).clamp(1, MAX_SPAN);
        if frame.order == Order::Ordered {
            frame.content = SkipContent::of(bytes, u32::try_from(count).unwrap_or(1));
            frame.fragment = None;
            return self.on_ordered(config, now, frame);
        }
        let (id, low) = (frame.channel, frame.sequence_number);
        if !self.has_room_for_free(config, &frame) {
            return Received::NoRoom;
        }
        let channel = self.channels.entry(id).or_default();
        let pieces_memory = &mut self.pieces_memory;
        channel.drop_pieces_of(low, low + count - 1, |piece| *pieces_memory -= memory(piece));
        self.settle_skipped(id, low, low + count - 1);
        self.take(id, bytes);
        if frame.order == Order::Unordered {
            self.push(Event::Skipped { channel: id, sequence_number: low }, id, 0);
        }
        Received::New
    }

    /// Settles the numbers that a `skip` stands for. An honest peer never used the others than the first; what came under
    /// them would wait for ever.
    fn settle_skipped(&mut self, id: u32, low: u64, high: u64) {
        let channel = self.channels.entry(id).or_default();
        let mut dropped = 0;
        for Held { frame, .. } in channel.drain_held(low, high) {
            if frame.order == Order::Ordered {
                self.held -= window_cost(&frame);
                self.held_memory -= memory(&frame);
                dropped += window_cost(&frame);
            } else {
                self.pieces_memory -= memory(&frame);
            }
        }
        channel.settle(low, high);
        self.take(id, dropped);
    }

    /// Passes a whole message on that waits for nothing.
    #[expect(clippy::too_many_arguments, reason = "one message, taken apart")]
    fn complete(
        &mut self,
        id: u32,
        low: u64,
        high: u64,
        order: Order,
        event: Event,
        cost: u64,
        stats: &mut Stats,
    ) {
        let channel = self.channels.entry(id).or_default();
        channel.settle(low, high);
        match channel.pass_on(low, order, event) {
            Completed::Event(event) => {
                self.push(event, id, cost);
            }
            Completed::Outdated | Completed::Piece => {
                stats.messages_outdated += 1;
                self.take(id, cost);
            }
        }
    }

    /// Passes on what has waited for its turn.
    fn release(&mut self, config: &TransportConfig, now: Timestamp, id: u32) {
        while let Some(channel) = self.channels.get_mut(&id)
            && let Some(held) = channel.pop_in_order()
        {
            self.held -= window_cost(&held.frame);
            self.held_memory -= memory(&held.frame);
            self.advance(config, now, id, held);
        }
    }

    /// Passes on the frame whose turn it is in its channel.
    fn advance(&mut self, config: &TransportConfig, now: Timestamp, id: u32, held: Held) {
        let channel = self.channels.entry(id).or_default();
        let sequence = held.frame.sequence_number;
        let cost = window_cost(&held.frame);
        if held.frame.msg_type == MsgType::Skip {
            let skip = held.frame.content.parse::<SkipContent>();
            let count = skip.map_or(1, |skip| u64::from(skip.count).max(1));
            self.partial -= channel.partial_bytes();
            channel.forget_partial();
            self.settle_skipped(id, sequence, sequence + count - 1);
            self.push(Event::Skipped { channel: id, sequence_number: sequence }, id, cost);
            return;
        }
        channel.settle(sequence, sequence);
        let before = channel.partial_bytes();
        let room = MAX_PARTIAL_MESSAGES * config.max_message.as_u64() - (self.partial - before);
        let completed = channel.assemble(now, held, room.min(config.max_message.as_u64()));
        self.partial = self.partial - before + channel.partial_bytes();
        match completed {
            Completed::Event(event) => self.push(event, id, cost),
            Completed::Piece | Completed::Outdated => self.take(id, cost),
        }
    }

    fn hold(&mut self, now: Timestamp, frame: Frame) {
        self.held += window_cost(&frame);
        self.held_memory += memory(&frame);
        self.channels.entry(frame.channel).or_default().hold(now, frame);
    }

    fn has_room(&self, config: &TransportConfig, frame: &Frame) -> bool {
        self.held + self.waiting + window_cost(frame) <= config.receive_window.as_u64()
            && self.held_memory + memory(frame) <= memory_bound(config)
    }

    /// Whether there is room among what waits for the application for what its window does not count. One always has it, and
    /// so has what the window counts.
    fn has_room_for_free(&self, config: &TransportConfig, frame: &Frame) -> bool {
        if frame.fragment.is_some() {
            return self.free_memory <= pieces_memory_max(config);
        }
        let is_counted =
            frame.sequence_number > 0 && window_cost(frame) > 0 && frame.msg_type != MsgType::Skip;
        is_counted || self.free_memory == 0 || self.free_memory + memory(frame) <= free_memory_max(config)
    }

    fn push(&mut self, event: Event, channel: u32, cost: u64) {
        let memory = match &event {
            Event::Message(message) if cost == 0 => FRAME_MEMORY + message.content.len() as u64,
            Event::Message(message) => (message.content.len() as u64).saturating_sub(cost),
            Event::Bye { content } => FRAME_MEMORY + content.len() as u64,
            Event::Skipped { .. } | Event::Refused { .. } => FRAME_MEMORY,
            _ => 0,
        };
        self.waiting += cost;
        self.free_memory += memory;
        self.ready.push_back(Ready { event, channel, cost, memory });
    }

    fn take(&mut self, id: u32, cost: u64) {
        self.taken += cost;
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.taken += cost;
            if !std::mem::replace(&mut channel.window.is_listed, true) {
                self.to_tell.push_back(id);
            }
        }
    }

    /// Channel windows for an ack that leaves now: those that have moved enough, and those that may have been missed.
    pub(crate) fn channel_windows(
        &mut self,
        config: &TransportConfig,
        now: Timestamp,
        rtt: Duration,
    ) -> ChannelWindows {
        let mut windows = ChannelWindows::new();
        for _ in 0..self.to_tell.len().min(MAX_WINDOWS_IN_ACK) {
            let Some(id) = self.to_tell.pop_front() else {
                break;
            };
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            channel.window.on_taken(now, channel.taken, rtt, config.receive_window.as_u64());
            channel.window.is_listed = false;
            if let Some((end, again)) = channel.window.tell() {
                windows.push((id, end));
                if again {
                    channel.window.is_listed = true;
                    self.to_tell.push_back(id);
                }
            }
        }
        windows
    }

    /// The ack had no room for these after all: they are told in a later one.
    pub(crate) fn untell(&mut self, windows: &ChannelWindows) {
        for (id, _) in windows {
            if let Some(channel) = self.channels.get_mut(id) {
                channel.window.untell();
                if !std::mem::replace(&mut channel.window.is_listed, true) {
                    self.to_tell.push_back(*id);
                }
            }
        }
    }

    /// The peer asks: any window may have been missed.
    pub(crate) fn repeat_windows(&mut self) {
        for (&id, channel) in &mut self.channels {
            channel.window.repeat();
            if !std::mem::replace(&mut channel.window.is_listed, true) {
                self.to_tell.push_back(id);
            }
        }
    }

    /// Takes a message without a sequence number: it is passed on as it comes. Only numbered bytes are part of the window's
    /// count, so these have a bound of their own.
    pub(crate) fn on_unnumbered(&mut self, config: &TransportConfig, frame: Frame) -> Received {
        if !self.has_room_for_free(config, &frame) {
            return Received::NoRoom;
        }
        self.push(Event::Message(incoming(frame, Duration::ZERO)), 0, 0);
        Received::New
    }

    /// Takes a `bye`; further ones count like messages without a number.
    pub(crate) fn on_bye(&mut self, config: &TransportConfig, frame: Frame) {
        if self.has_room_for_free(config, &frame) {
            self.push(Event::Bye { content: frame.content }, 0, 0);
        }
    }

    /// Something to say that is no message.
    pub(crate) fn push_event(&mut self, event: Event) {
        self.push(event, 0, 0);
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let Ready { event, channel, cost, memory } = self.ready.pop_front()?;
        self.waiting -= cost;
        self.free_memory -= memory;
        self.take(channel, cost);
        Some(event)
    }

    /// What must hold whatever an honest peer sends; for tests. What it may have sent before it heard of our window counts
    /// as window, too.
    #[cfg(test)]
    pub(crate) fn check(&self, config: &TransportConfig) {
        let window = window(config);
        let ready: u64 = self.ready.iter().map(|ready| ready.cost).sum();
        assert_eq!(self.waiting, ready, "what waits for the application is counted");
        assert!(
            self.held + self.waiting <= window,
            "{} B held and {} B waiting are more than the window",
            self.held,
            self.waiting
        );
        let bound = MAX_PARTIAL_MESSAGES * config.max_message.as_u64();
        let partial: u64 = self.channels.values().map(|channel| channel.partial_bytes()).sum();
        assert_eq!(self.partial, partial, "pieces of ordered messages are counted");
        assert!(partial <= bound && self.pieces_memory <= bound, "pieces stay within their bound");
        let (held, pieces) =
            self.channels.values().flat_map(|channel| channel.waiting()).fold((0, 0), |sums, frame| {
                let size = memory(frame);
                if frame.order == Order::Ordered { (sums.0 + size, sums.1) } else { (sums.0, sums.1 + size) }
            });
        assert_eq!((self.held_memory, self.pieces_memory), (held, pieces), "memory is counted");
    }

    /// Right edge of the receive window: the total of message bytes that the peer may have sent.
    pub(crate) fn window_end(&self, receive_window: ByteCount) -> u64 {
        self.taken + receive_window.as_u64()
    }
}

impl SkipContent {
    /// As the content of a `skip`.
    pub(crate) fn of(bytes: u64, count: u32) -> crate::wire::Content {
        crate::wire::Content::of(&Self { bytes, count })
    }
}

/// Bytes a frame takes of the window: those of its content. A `skip` stands for the bytes it replaced.
fn window_cost(frame: &Frame) -> u64 {
    if frame.msg_type == MsgType::Skip {
        return frame.content.parse::<SkipContent>().map_or(0, |skip| skip.bytes.min(MAX_SKIPPED_BYTES));
    }
    frame.content.len() as u64
}

/// What an honest peer may have sent beyond what the application has taken: the window, or more before it heard of it.
fn window(config: &TransportConfig) -> u64 {
    config.receive_window.as_u64().max(super::INITIAL_WINDOW)
}

/// Memory that what is held out of order may take: the window's bytes, and the frames of one channel in full. Less would
/// refuse small frames that the peer was granted, and they would come again as if they had been lost.
fn memory_bound(config: &TransportConfig) -> u64 {
    config.receive_window.as_u64() + (MAX_SPAN + 1) * FRAME_MEMORY
}

/// Memory that what costs no window may take while it waits for the application.
fn free_memory_max(config: &TransportConfig) -> u64 {
    2 * config.receive_window.as_u64() + FRAME_MEMORY
}

/// Memory that pieces of unordered messages may take. A sender begins no further one beyond it: pieces are acknowledged
/// before their message is whole, so they cannot be dropped for others, and others that are refused would come again
/// for ever.
pub(super) fn pieces_memory_max(config: &TransportConfig) -> u64 {
    MAX_PARTIAL_MESSAGES * config.max_message.as_u64()
}

/// Memory of a held frame, about.
fn memory(frame: &Frame) -> u64 {
    FRAME_MEMORY + frame.content.len() as u64
}

/// No fragment is larger than a frame, so no skip stands for more; a peer that says so only hurts its own window.
const MAX_SKIPPED_BYTES: u64 = crate::wire::MAX_FRAME_BYTES as u64;
/// Channel windows in one ack; the others follow in the next ones.
const MAX_WINDOWS_IN_ACK: usize = 16;
/// What a frame takes beside its content, names and place included.
pub(super) const FRAME_MEMORY: u64 = 256;
/// Largest messages that may be half received at once, over all channels.
const MAX_PARTIAL_MESSAGES: u64 = 4;
