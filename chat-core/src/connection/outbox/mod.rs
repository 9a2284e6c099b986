//! The sending half: messages, the segments they are cut into, and the order in which these leave.
//!
//! A message waits in its channel without numbers. When its first segment leaves it takes sequence numbers for all of
//! them, and keeps them on every transmission; so a message that is given up before it was sent leaves no trace, and one
//! that is given up later leaves `skip`s in its place. Priorities and turns are in [`scheduler`], what is sent more than
//! once before it is known to be lost in [`copies`].
//!
//! A segment may be under way in several packets. It is lost when all of them are, and done when one of them arrives.

mod channel;
mod copies;
mod cut;
mod scheduler;
mod slab;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::num::NonZeroU32;

use smallvec::SmallVec;
use units::{ByteCount, Timestamp};

use self::channel::Channel;
use self::copies::Copies;
use self::cut::{TYPICAL_ENVELOPE_BYTES, cut, names_len};
use self::scheduler::Scheduler;
use self::slab::{Slab, Slot};
use super::inbox::{FRAME_MEMORY, pieces_memory_max};
use super::{Delivery, Failure, Reliability, SkipContent, Stats};
use crate::config::TransportConfig;
use crate::trace::LossReason;
use crate::wire::{Content, Fragment, Frame, Label, MsgType, Order, Priority};

/// A message to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    pub msg_id: Label,
    pub msg_type: MsgType,
    pub sender: Label,
    pub content: Content,
    /// Microseconds since the Unix epoch.
    pub timestamp_us: u64,
    pub priority: Priority,
    pub channel: u32,
    pub delivery: Delivery,
}

/// Names a queued message until it is acknowledged or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendKey(u64);

impl SendKey {
    /// Messages are numbered from 0 in the order in which they are queued.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("message of {size} is longer than the limit of {limit}")]
    TooLarge { size: ByteCount, limit: ByteCount },
    #[error("{limit} messages wait already; the peer does not keep up")]
    QueueFull { limit: usize },
    #[error("messages of {limit} wait already; the peer does not keep up")]
    QueueBytes { limit: ByteCount },
    #[error("all {limit} channels are in use")]
    TooManyChannels { limit: usize },
}

/// Names one transmission of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentKey {
    slot: Slot,
    pub(crate) kind: Kind,
}

/// Why a segment is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For the first time.
    Fresh,
    /// Again: no earlier transmission is still under way.
    Lost,
    /// Once more, in case an earlier transmission gets lost.
    Copy,
}

/// A segment that may leave.
pub(crate) type Pick = SegmentKey;

#[derive(Debug)]
pub(crate) struct Outbox {
    messages: Slab<Message>,
    segments: Slab<Segment>,
    channels: Vec<Channel>,
    /// Places in `channels` by channel number.
    by_id: BTreeMap<u32, u32>,
    scheduler: Scheduler,
    copies: Copies,
    /// Messages with a deadline that has not passed, the earliest first.
    deadlines: BinaryHeap<Reverse<(Timestamp, Slot)>>,
    failures: VecDeque<(SendKey, Failure)>,
    next_message: u64,
    /// Content bytes of all segments sent at least once, ever: what the peer's window counts.
    window_used: u64,
    /// Content bytes of messages not yet acknowledged.
    unacked_bytes: u64,
    /// Memory that the peer may need for messages in pieces, not in order, that have begun to leave; and its bound.
    pieces_begun: u64,
    pieces_max: u64,
    /// A channel was passed over for its own window when the next segment was looked for last.
    waits_for_channel: bool,
    /// The same for [`MAX_SPAN`].
    waits_for_span: bool,
    /// Something was passed over then because the peer has no room for it.
    is_blocked: bool,
}

#[derive(Debug)]
struct Message {
    key: SendKey,
    outgoing: Outgoing,
    /// Bytes of its names, as they stand in a frame of JSON.
    names: usize,
    channel: u32,
    /// Sequence number of the first segment; 0 while nothing was sent.
    first_sequence: u64,
    segments: SmallVec<[Slot; 1]>,
    segments_left: u32,
    /// What it counts for in `pieces_begun`.
    begun: u64,
    /// Given up: `skip`s stand in its place.
    failed: bool,
    /// Must not be sent again, and why.
    doomed: Option<Failure>,
}

#[derive(Debug)]
struct Segment {
    message: Slot,
    /// Place in its message.
    index: u32,
    content: Content,
    /// Bytes of the peer's window that it takes, also once a `skip` stands in its place.
    window_cost: u64,
    /// The queue it waits in: its message's priority, or a later one (see [`Channel::queue_in_order`]).
    queue: Priority,
    /// Times it was sent, copies not counted.
    attempts: u32,
    /// Transmissions under way, copies counted.
    in_flight: u32,
    /// Copies among these.
    copies_in_flight: u32,
    /// In one of the queues.
    queued: bool,
    /// Why its last transmission counts as lost.
    loss: Option<LossReason>,
}

/// What an ack of a segment finished.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finished {
    Acked(SendKey),
    /// The last piece of a message that had failed before.
    Buried,
}

/// What stands at the front of a channel's queue.
enum Head {
    Empty,
    /// It waits for the peer's window.
    Blocked,
    Segment(Pick),
}

impl SegmentKey {
    /// Another transmission of the same segment, though nothing is known to be lost.
    pub(crate) fn again(self) -> Self {
        Self { kind: Kind::Lost, ..self }
    }

    /// Whether both are transmissions of one segment.
    pub(crate) fn is_same_segment(self, other: Self) -> bool {
        self.slot == other.slot
    }
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            messages: Slab::new(),
            segments: Slab::new(),
            channels: Vec::new(),
            by_id: BTreeMap::new(),
            scheduler: Scheduler::default(),
            copies: Copies::default(),
            deadlines: BinaryHeap::new(),
            failures: VecDeque::new(),
            next_message: 0,
            window_used: 0,
            unacked_bytes: 0,
            pieces_begun: 0,
            pieces_max: 0,
            waits_for_channel: false,
            waits_for_span: false,
            is_blocked: false,
        }
    }

    pub(crate) fn queue(
        &mut self,
        config: &TransportConfig,
        now: Timestamp,
        outgoing: Outgoing,
    ) -> Result<SendKey, SendError> {
        let size = ByteCount(outgoing.content.len() as u64);
        if size > config.max_message {
            return Err(SendError::TooLarge { size, limit: config.max_message });
        }
        if self.messages.len() >= config.max_queued_messages {
            return Err(SendError::QueueFull { limit: config.max_queued_messages });
        }
        if self.unacked_bytes + size.as_u64() > config.max_queued_bytes.as_u64() {
            return Err(SendError::QueueBytes { limit: config.max_queued_bytes });
        }
        let index = self
            .open(outgoing.channel, config.max_channels)
            .ok_or(SendError::TooManyChannels { limit: config.max_channels })?;
        let key = SendKey(self.next_message);
        self.next_message += 1;
        self.unacked_bytes += size.as_u64();
        let delivery = outgoing.delivery;
        let slot = self.insert(config, key, index, outgoing);
        if let Reliability::Deadline(span) = delivery.reliability {
            self.deadlines.push(Reverse((now + span, slot)));
            // Of messages that are done long before their deadline, which may be hours away.
            let messages = &self.messages;
            if self.deadlines.len() > 2 * messages.len() + STALE_MAX {
                self.deadlines.retain(|Reverse((_, slot))| messages.get(*slot).is_some());
            }
        }
        if delivery.order == Order::Latest
            && let Some(older) = self.channels[index as usize].latest.replace(slot)
        {
            self.doom(older, Failure::Superseded);
        }
        Ok(key)
    }

    /// Cuts a message and queues its segments.
    fn insert(&mut self, config: &TransportConfig, key: SendKey, channel: u32, outgoing: Outgoing) -> Slot {
        self.pieces_max = pieces_memory_max(config);
        let names = names_len(&outgoing);
        let pieces = cut(&outgoing, names, config.piece_bytes());
        let segments_left = u32::try_from(pieces.len()).expect("a message is at most a megabyte");
        let (priority, order) = (outgoing.priority, outgoing.delivery.order);
        let slot = self.messages.insert(Message {
            key,
            outgoing,
            names,
            channel,
            first_sequence: 0,
            segments: SmallVec::new(),
            segments_left,
            begun: 0,
            failed: false,
            doomed: None,
        });
        let queue = match order {
            Order::Ordered => self.channels[channel as usize].queue_in_order(priority),
            Order::Unordered | Order::Latest => priority,
        };
        for (index, content) in (0..).zip(pieces) {
            let segment = self.segments.insert(Segment {
                message: slot,
                index,
                window_cost: content.len() as u64,
                content,
                queue,
                attempts: 0,
                in_flight: 0,
                copies_in_flight: 0,
                queued: true,
                loss: None,
            });
            if let Some(message) = self.messages.get_mut(slot) {
                message.segments.push(segment);
            }
            let fresh = SegmentKey { slot: segment, kind: Kind::Fresh };
            self.channels[channel as usize].queues[queue as usize].fresh.push_back(fresh);
        }
        self.channels[channel as usize].queues[queue as usize].unsent += segments_left;
        self.scheduler.activate(&mut self.channels, channel, queue);
        slot
    }

    /// The place of a channel; `None` if it would be one too many.
    fn open(&mut self, id: u32, limit: usize) -> Option<u32> {
        if let Some(&index) = self.by_id.get(&id) {
            return Some(index);
        }
        if self.channels.len() >= limit {
            return None;
        }
        let index = u32::try_from(self.channels.len()).ok()?;
        self.channels.push(Channel::new());
        self.by_id.insert(id, index);
        Some(index)
    }

    /// Sets the share of a channel among those of its priority; false if it would be one channel too many.
    pub(crate) fn set_weight(&mut self, id: u32, weight: NonZeroU32, max_channels: usize) -> bool {
        let index = self.open(id, max_channels);
        if let Some(index) = index {
            self.channels[index as usize].weight = weight.get().min(MAX_WEIGHT);
        }
        index.is_some()
    }

    /// The segment to send next. Fresh ones only within the peer's window.
    pub(crate) fn next(&mut self, now: Timestamp, window_end: u64) -> Option<Pick> {
        self.expire(now);
        (self.waits_for_channel, self.waits_for_span, self.is_blocked) = (false, false, false);
        if self.scheduler.is_empty() {
            return None;
        }
        Priority::ALL.into_iter().find_map(|class| self.turn(class, window_end))
    }

    /// What stands at the front of a channel's queue: what was lost goes before what is new.
    fn head(&mut self, index: u32, class: Priority, window_end: u64) -> Head {
        let channel = &mut self.channels[index as usize];
        // What the peer's window holds up in an earlier class; nothing in order overtakes it, see `queue_in_order`.
        let is_behind = channel.queues[..class as usize].iter().any(|queue| queue.unsent > 0);
        let queue = &mut channel.queues[class as usize];
        while let Some(&key) = queue.lost.front() {
            // Those that were acknowledged while they waited are gone: the loss was spurious.
            if self.segments.get(key.slot).is_some_and(|segment| segment.queued) {
                return Head::Segment(key);
            }
            queue.lost.pop_front();
        }
        while let Some(&key) = queue.fresh.front() {
            let Some(segment) = self.segments.get(key.slot).filter(|segment| segment.attempts == 0) else {
                queue.fresh.pop_front();
                continue;
            };
            let fits_all = self.window_used + segment.window_cost <= window_end;
            let fits = fits_all && channel.window_used + segment.window_cost <= channel.window_end;
            self.waits_for_channel |= fits_all && !fits;
            let Some(message) = self.messages.get(segment.message) else {
                queue.fresh.pop_front();
                continue;
            };
            let oldest = channel.started.front().map_or(channel.last_sequence + 1, |&(first, _)| first);
            let end = channel.last_sequence + u64::from(message.segments_left);
            let in_span =
                message.first_sequence != 0 || channel.started.is_empty() || end - oldest < MAX_SPAN;
            let overtakes = is_behind && message.outgoing.delivery.order == Order::Ordered;
            // A piece that the peer has no room for could not be acknowledged, nor could those that would make room.
            let room = self.pieces_max.saturating_sub(message.pieces_memory());
            let has_room = message.first_sequence != 0
                || message.pieces_memory() == 0
                || self.pieces_begun == 0
                || self.pieces_begun <= room;
            if fits && in_span && has_room && !overtakes {
                return Head::Segment(key);
            }
            self.waits_for_span |= fits && !in_span;
            self.is_blocked = true;
            return Head::Blocked;
        }
        Head::Empty
    }

    /// The message that a segment is a piece of.
    pub(crate) fn message(&self, key: SegmentKey) -> Option<SendKey> {
        let segment = self.segments.get(key.slot)?;
        Some(self.messages.get(segment.message)?.key)
    }

    /// Whether a segment has not been acknowledged yet.
    pub(crate) fn is_waiting(&self, key: SegmentKey) -> bool {
        self.segments.get(key.slot).is_some()
    }

    /// Whether a segment that is under way may be sent again before it is known to be lost: not if its message must not be
    /// sent again, or has no attempt left.
    pub(crate) fn may_repeat(&self, key: SegmentKey, max_attempts: u32) -> bool {
        self.segments.get(key.slot).is_some_and(|segment| {
            let message = self.messages.get(segment.message);
            message.is_some_and(|message| {
                message.failed
                    || message.doomed.is_none() && segment.attempts < message.attempts_max(max_attempts)
            })
        })
    }

    /// Bytes of the segment's frame, at most.
    pub(crate) fn size(&self, key: SegmentKey) -> ByteCount {
        let Some(segment) = self.segments.get(key.slot) else {
            return ByteCount::ZERO;
        };
        let names = self.messages.get(segment.message).map_or(0, |message| message.names);
        ByteCount((TYPICAL_ENVELOPE_BYTES + names + segment.content.len()) as u64)
    }

    /// Why the segment's last transmission counts as lost, if it does.
    pub(crate) fn loss_reason(&self, key: SegmentKey) -> Option<LossReason> {
        self.segments.get(key.slot)?.loss
    }

    /// The frame of a segment, as packet `packet`.
    pub(crate) fn frame(&self, key: SegmentKey, packet: u64) -> Option<Frame> {
        let segment = self.segments.get(key.slot)?;
        let message = self.messages.get(segment.message)?;
        let outgoing = &message.outgoing;
        let skip = message.failed;
        let first = match message.first_sequence {
            // What it will get when it leaves, see `start`.
            0 => self.channels[message.channel as usize].last_sequence + 1,
            first => first,
        };
        let count = u32::try_from(message.segments.len()).expect("a message is at most a megabyte");
        let fragment = Fragment { index: segment.index, count };
        Some(Frame {
            msg_id: outgoing.msg_id.clone(),
            msg_type: if skip { MsgType::Skip } else { outgoing.msg_type.clone() },
            sender: outgoing.sender.clone(),
            content: segment.content.clone(),
            timestamp_us: outgoing.timestamp_us,
            priority: outgoing.priority,
            sequence_number: first + u64::from(segment.index),
            packet,
            channel: outgoing.channel,
            order: outgoing.delivery.order,
            fragment: (!skip && count > 1).then_some(fragment),
        })
    }

    /// Notes that a segment left as part of packet `packet`; it is in no queue any more. Returns how often it has been
    /// sent by now, copies not counted.
    pub(crate) fn on_sent(&mut self, now: Timestamp, key: SegmentKey, packet: u64) -> u32 {
        let Some(segment) = self.segments.get_mut(key.slot) else {
            return 0;
        };
        segment.in_flight += 1;
        if key.kind == Kind::Copy {
            segment.copies_in_flight += 1;
            self.copies.on_copy_sent(now, key, packet);
            return segment.attempts;
        }
        let is_first = segment.attempts == 0;
        // A probe of what is still under way is repeated by whoever probes.
        let is_repair = !is_first && segment.queued;
        segment.attempts += 1;
        segment.queued = false;
        let (attempts, message, cost, queue) =
            (segment.attempts, segment.message, segment.window_cost, segment.queue);
        let size = self.size(key).as_u64();
        if is_first {
            self.start(message, cost, queue);
        }
        if let Some(message) = self.messages.get(message) {
            let queue = &mut self.channels[message.channel as usize].queues[queue as usize];
            queue.deficit = queue.deficit.saturating_sub(size);
            let eager = message.outgoing.delivery.order != Order::Ordered;
            if is_first && !message.failed {
                self.copies.on_first_sent(now, key, packet, eager);
            } else if is_repair {
                self.copies.on_resent(now, key);
            }
        }
        attempts
    }

    /// A segment of a message leaves for the first time: its message has its numbers from here on.
    fn start(&mut self, slot: Slot, cost: u64, queue: Priority) {
        let Some(message) = self.messages.get_mut(slot) else {
            return;
        };
        let channel = &mut self.channels[message.channel as usize];
        if message.first_sequence == 0 {
            message.first_sequence = channel.last_sequence + 1;
            channel.last_sequence += message.segments.len() as u64;
            channel.started.push_back((message.first_sequence, slot));
            message.begun = message.pieces_memory();
            self.pieces_begun += message.begun;
        }
        self.window_used += cost;
        channel.window_used += cost;
        channel.queues[queue as usize].unsent -= 1;
    }

    /// One transmission arrived, and with it the segment.
    pub(crate) fn on_acked(&mut self, key: SegmentKey, stats: &mut Stats) -> Option<Finished> {
        let segment = self.segments.remove(key.slot)?;
        // Its own transmission was lost, a copy arrived.
        stats.rescued += u64::from(key.kind == Kind::Copy && segment.loss.is_some());
        let message = self.messages.get_mut(segment.message)?;
        message.segments_left -= 1;
        if message.segments_left > 0 {
            return None;
        }
        let message = self.remove(segment.message)?;
        Some(if message.failed { Finished::Buried } else { Finished::Acked(message.key) })
    }

    /// One transmission got lost. When only copies are still under way, the segment is queued again: they were made to
    /// come before a repair, not to put it off. When nothing is and it may not be sent again, its message is given up.
    pub(crate) fn on_lost(
        &mut self,
        key: SegmentKey,
        reason: LossReason,
        max_attempts: u32,
        stats: &mut Stats,
    ) {
        let Some(segment) = self.segments.get_mut(key.slot) else {
            // Another transmission had arrived before this one was known to be lost.
            stats.rescued += u64::from(key.kind != Kind::Copy);
            return;
        };
        segment.in_flight = segment.in_flight.saturating_sub(1);
        segment.copies_in_flight -= u32::from(key.kind == Kind::Copy).min(segment.copies_in_flight);
        segment.loss = Some(reason);
        if segment.queued || segment.in_flight > segment.copies_in_flight {
            return;
        }
        let (slot, queue, attempts) = (segment.message, segment.queue, segment.attempts);
        let Some(message) = self.messages.get(slot) else {
            return;
        };
        let index = message.channel;
        let failure =
            message.doomed.or((attempts >= message.attempts_max(max_attempts)).then_some(Failure::Attempts));
        if failure.is_some() && segment.in_flight > 0 {
            // A copy may still save it.
            return;
        }
        segment.queued = true;
        let lost = SegmentKey { slot: key.slot, kind: Kind::Lost };
        self.channels[index as usize].queues[queue as usize].lost.push_back(lost);
        self.scheduler.activate(&mut self.channels, index, queue);
        if let Some(cause) = failure.filter(|_| !self.is_failed(slot)) {
            self.give_up(slot, cause);
        }
    }

    fn is_failed(&self, slot: Slot) -> bool {
        self.messages.get(slot).is_none_or(|message| message.failed)
    }

    /// Gives up what is past its deadline and not under way.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while let Some(&Reverse((deadline, slot))) = self.deadlines.peek() {
            if deadline > now {
                return;
            }
            self.deadlines.pop();
            self.doom(slot, Failure::Deadline);
        }
    }

    /// No packet holds this segment: its message is given up, so that what waits behind it may leave.
    pub(crate) fn on_too_long(&mut self, key: SegmentKey) {
        if let Some(segment) = self.segments.get(key.slot) {
            self.doom(segment.message, Failure::TooLong);
        }
    }

    /// The message must not be sent again. It is given up at once if something of it waits; what is wholly under way may
    /// still arrive.
    fn doom(&mut self, slot: Slot, cause: Failure) {
        let Some(message) = self.messages.get_mut(slot).filter(|message| !message.failed) else {
            return;
        };
        message.doomed = message.doomed.or(Some(cause));
        let waits = message
            .segments
            .iter()
            .any(|&segment| self.segments.get(segment).is_some_and(|segment| segment.queued));
        if waits {
            self.give_up(slot, cause);
        }
    }

    /// Gives a message up. If it was never sent, nothing remains of it. Else its pieces are replaced by small `skip`s in the
    /// same places: the channel's order has no hole, the window's count stays true, and what follows is not held up.
    fn give_up(&mut self, slot: Slot, cause: Failure) {
        let Some(message) = self.messages.get_mut(slot) else {
            return;
        };
        message.failed = true;
        self.failures.push_back((message.key, cause));
        self.unacked_bytes -= message.outgoing.content.len() as u64;
        // Into the shared text of nothing, so that the content is not held on to.
        message.outgoing.content = Content::from_json("");
        let mut unsent = None;
        let (channel, mut queue_of_unsent) = (message.channel, None);
        for &key in &message.segments {
            let Some(segment) = self.segments.get_mut(key) else {
                continue;
            };
            if segment.attempts > 0 {
                segment.content = SkipContent::of(segment.window_cost, 1);
                continue;
            }
            // Never sent: one skip without bytes stands for all of them. They are the end of the message.
            if unsent.is_none() && message.first_sequence != 0 {
                unsent = Some((key, 1));
                segment.window_cost = 0;
                continue;
            }
            let queue = segment.queue;
            self.segments.remove(key);
            message.segments_left -= 1;
            self.channels[channel as usize].queues[queue as usize].unsent -= 1;
            queue_of_unsent = Some(queue);
            if let Some((_, count)) = &mut unsent {
                *count += 1;
            }
        }
        if let Some((key, count)) = unsent
            && let Some(segment) = self.segments.get_mut(key)
        {
            segment.content = SkipContent::of(0, count);
        }
        if message.segments_left == 0 {
            self.remove(slot);
        }
        if let Some(queue) = queue_of_unsent {
            self.sweep(channel, queue);
        }
    }

    /// Takes the names of what was given up out of a queue when they are most of it. At the front they are passed over
    /// anyway; but a front that waits for the peer's window keeps those behind it, and each gives its place among the queued
    /// messages to another.
    fn sweep(&mut self, channel: u32, queue: Priority) {
        let segments = &self.segments;
        let queue = &mut self.channels[channel as usize].queues[queue as usize];
        if queue.fresh.len() > 2 * queue.unsent as usize + STALE_MAX {
            queue.fresh.retain(|key| segments.get(key.slot).is_some_and(|segment| segment.attempts == 0));
        }
    }

    /// Takes out a message of which nothing is left.
    fn remove(&mut self, slot: Slot) -> Option<Message> {
        let message = self.messages.remove(slot)?;
        self.unacked_bytes -= message.outgoing.content.len() as u64;
        self.pieces_begun -= message.begun;
        let channel = &mut self.channels[message.channel as usize];
        if channel.latest == Some(slot) {
            channel.latest = None;
        }
        while channel.started.front().is_some_and(|&(_, started)| self.messages.get(started).is_none()) {
            channel.started.pop_front();
        }
        Some(message)
    }

    /// A message that was given up since the last call, and why.
    pub(crate) fn poll_failure(&mut self) -> Option<(SendKey, Failure)> {
        self.failures.pop_front()
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.peek().map(|&Reverse((deadline, _))| deadline)
    }

    /// The peer told the right edge of its window for a channel. It never moves back.
    /// Whether it has moved.
    pub(crate) fn on_channel_window(&mut self, id: u32, end: u64) -> bool {
        let Some(&index) = self.by_id.get(&id) else {
            return false;
        };
        let channel = &mut self.channels[index as usize];
        let known = if channel.window_end == u64::MAX { 0 } else { channel.window_end };
        channel.window_end = known.max(end);
        channel.window_end > known
    }

    /// Whether something waits for the window of its channel, though the connection's has room.
    pub(crate) fn waits_for_channel(&self) -> bool {
        self.waits_for_channel
    }

    /// Whether something waits for an older message of its channel, because as many numbers are open as the peer remembers.
    pub(crate) fn waits_for_span(&self) -> bool {
        self.waits_for_span
    }

    /// Whether something waits for room at the peer: in a window, or among what it remembers.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Messages queued or sent and not yet acknowledged.
    pub(crate) fn unacked_messages(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn unacked_bytes(&self) -> u64 {
        self.unacked_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.len() == 0
    }

    /// Everything that was not acknowledged, in the order in which it was queued, for a connection that starts anew.
    pub(crate) fn into_unacked(self) -> Vec<(SendKey, Outgoing)> {
        let live = self.messages.into_values().filter(|message| !message.failed);
        let mut live: Vec<_> = live.map(|message| (message.key, message.outgoing)).collect();
        live.sort_by_key(|&(key, _)| key);
        live
    }
}

impl Message {
    /// Memory that the peer needs for its pieces until all are there; none where it waits for nothing or in order.
    fn pieces_memory(&self) -> u64 {
        if self.segments.len() < 2 || self.outgoing.delivery.order == Order::Ordered {
            return 0;
        }
        self.outgoing.content.len() as u64 + FRAME_MEMORY * self.segments.len() as u64
    }

    /// How often a piece may be sent.
    fn attempts_max(&self, max_attempts: u32) -> u32 {
        match self.outgoing.delivery.reliability {
            Reliability::Attempts(attempts) => attempts.clamp(1, max_attempts),
            Reliability::Reliable | Reliability::Deadline(_) => max_attempts,
        }
    }
}

/// Names of what is gone that a queue may hold beyond as many as are alive: so few that the memory is nothing, so many that
/// a queue of a few messages is not swept for each.
const STALE_MAX: usize = 64;
/// Sequence numbers of one channel that may be open at once: what a receiver must be ready to remember above the first
/// hole. A message whose repair is lost n times holds the channel up unless the span covers n round trips: with 4,096, of
/// 220 bytes at 100 Mbit/s and 50 ms, that is less than two. Receive windows bound what it may cost in memory.
pub(crate) const MAX_SPAN: u64 = 16_384;
/// Beyond this a channel would shut the others of its priority out for a noticeable time.
const MAX_WEIGHT: u32 = 100;

#[cfg(test)]
mod tests;
