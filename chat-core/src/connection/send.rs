//! The sending half: messages, the segments they are cut into, and the order in which these leave.
//!
//! A message gets its sequence numbers when it is queued and keeps them on every transmission. Segments wait in one
//! queue for each priority; what was lost goes before what is new, within its priority.

use std::collections::{BTreeMap, VecDeque};

use units::{ByteCount, Timestamp};

use super::{Delivery, SkipContent};
use crate::config::TransportConfig;
use crate::trace::LossReason;
use crate::wire::{Content, Fragment, Frame, Label, MsgType, Priority};

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

/// Names a segment until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentKey(u64);

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

#[derive(Debug)]
pub(crate) struct Sender {
    messages: BTreeMap<SendKey, Message>,
    segments: BTreeMap<SegmentKey, Segment>,
    queues: [Queue; Priority::ALL.len()],
    channels: BTreeMap<u32, Channel>,
    next_message: u64,
    next_segment: u64,
    /// Content bytes of all segments sent at least once, ever: what the peer's window counts.
    window_used: u64,
    /// Content bytes of messages not yet acknowledged.
    unacked_bytes: u64,
}

/// Sending state of one channel.
#[derive(Debug, Default)]
struct Channel {
    last_sequence: u64,
    /// Segments never sent yet, by the queue they wait in.
    unsent: [u32; Priority::ALL.len()],
}

#[derive(Debug, Default)]
struct Queue {
    lost: VecDeque<SegmentKey>,
    fresh: VecDeque<SegmentKey>,
}

#[derive(Debug)]
struct Message {
    outgoing: Outgoing,
    segments_left: u32,
    failed: bool,
}

#[derive(Debug)]
pub(crate) struct Segment {
    message: SendKey,
    sequence_number: u64,
    content: Content,
    /// Bytes of the peer's window that it takes, also once a `skip` stands in its place.
    window_cost: u64,
    /// The queue it waits in: its message's priority, or a later one (see [`Sender::queue`]).
    queue: Priority,
    fragment: Option<Fragment>,
    attempts: u32,
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

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            messages: BTreeMap::new(),
            segments: BTreeMap::new(),
            queues: Default::default(),
            channels: BTreeMap::new(),
            next_message: 0,
            next_segment: 0,
            window_used: 0,
            unacked_bytes: 0,
        }
    }

    pub(crate) fn queue(
        &mut self,
        config: &TransportConfig,
        _now: Timestamp,
        message: Outgoing,
    ) -> Result<SendKey, SendError> {
        let size = ByteCount(message.content.len() as u64);
        if size > config.max_message {
            return Err(SendError::TooLarge { size, limit: config.max_message });
        }
        if self.messages.len() >= config.max_queued_messages {
            return Err(SendError::QueueFull { limit: config.max_queued_messages });
        }
        if self.unacked_bytes + size.as_u64() > config.max_queued_bytes.as_u64() {
            return Err(SendError::QueueBytes { limit: config.max_queued_bytes });
        }
        if !self.channels.contains_key(&message.channel) && self.channels.len() >= config.max_channels {
            return Err(SendError::TooManyChannels { limit: config.max_channels });
        }
        let key = SendKey(self.next_message);
        self.next_message += 1;
        self.unacked_bytes += size.as_u64();
        let pieces = cut(&message, config.mss);
        let count = u32::try_from(pieces.len()).expect("a message is at most a megabyte");
        let channel = self.channels.entry(message.channel).or_default();
        let waiting = Priority::ALL.into_iter().rev().find(|&queue| channel.unsent[queue as usize] > 0);
        let queue = waiting.map_or(message.priority, |waiting| waiting.max(message.priority));
        channel.unsent[queue as usize] += count;
        for (index, content) in (0..count).zip(pieces) {
            channel.last_sequence += 1;
            let segment = Segment {
                message: key,
                sequence_number: channel.last_sequence,
                window_cost: content.len() as u64,
                queue,
                content,
                fragment: (count > 1).then_some(Fragment { index, count }),
                attempts: 0,
                queued: true,
                loss: None,
            };
            let segment_key = SegmentKey(self.next_segment);
            self.next_segment += 1;
            self.segments.insert(segment_key, segment);
            self.queues[queue as usize].fresh.push_back(segment_key);
        }
        self.messages.insert(key, Message { outgoing: message, segments_left: count, failed: false });
        Ok(key)
    }

    /// The segment to send next, and whether it was sent before. Fresh ones only within the peer's window.
    pub(crate) fn next(&mut self, window_end: u64) -> Option<(SegmentKey, Resend)> {
        for queue in &mut self.queues {
            while let Some(&key) = queue.lost.front() {
                if self.segments.contains_key(&key) {
                    return Some((key, Resend::Yes));
                }
                // Acknowledged while it waited: the loss was spurious.
                queue.lost.pop_front();
            }
            if let Some(&key) = queue.fresh.front() {
                let cost = self.segments.get(&key).map_or(0, |segment| segment.window_cost);
                if self.window_used + cost <= window_end {
                    return Some((key, Resend::No));
                }
            }
        }
        None
    }

    pub(crate) fn contains(&self, key: SegmentKey) -> bool {
        self.segments.contains_key(&key)
    }

    /// Bytes of the segment's frame, at most.
    pub(crate) fn size(&self, key: SegmentKey) -> ByteCount {
        let Some(segment) = self.segments.get(&key) else {
            return ByteCount::ZERO;
        };
        let names = self.messages.get(&segment.message).map_or(0, |message| names_len(&message.outgoing));
        ByteCount((TYPICAL_ENVELOPE_BYTES + names + segment.content.len()) as u64)
    }

    /// Why the segment's last transmission counts as lost, if it does.
    pub(crate) fn loss_reason(&self, key: SegmentKey) -> Option<LossReason> {
        self.segments.get(&key)?.loss
    }

    /// The frame of a segment, as packet `packet`.
    pub(crate) fn frame(&self, key: SegmentKey, packet: u64) -> Option<Frame> {
        let segment = self.segments.get(&key)?;
        let Message { outgoing, failed, .. } = self.messages.get(&segment.message)?;
        let skip = *failed;
        Some(Frame {
            msg_id: outgoing.msg_id.clone(),
            msg_type: if skip { MsgType::Skip } else { outgoing.msg_type.clone() },
            sender: outgoing.sender.clone(),
            content: segment.content.clone(),
            timestamp_us: outgoing.timestamp_us,
            priority: outgoing.priority,
            sequence_number: segment.sequence_number,
            packet,
            channel: outgoing.channel,
            order: outgoing.delivery.order,
            fragment: if skip { None } else { segment.fragment },
        })
    }

    /// Notes that a segment left; it is in no queue any more. Returns how often it has been sent by now.
    pub(crate) fn on_sent(&mut self, key: SegmentKey) -> u32 {
        let Some(segment) = self.segments.get_mut(&key) else {
            return 0;
        };
        if segment.attempts == 0 {
            self.window_used += segment.window_cost;
            let message = self.messages.get(&segment.message);
            if let Some(channel) =
                message.and_then(|message| self.channels.get_mut(&message.outgoing.channel))
            {
                channel.unsent[segment.queue as usize] -= 1;
            }
        }
        segment.attempts += 1;
        if segment.queued {
            segment.queued = false;
            for queue in &mut self.queues {
                for keys in [&mut queue.lost, &mut queue.fresh] {
                    if keys.front() == Some(&key) {
                        keys.pop_front();
                    }
                }
            }
        }
        segment.attempts
    }

    pub(crate) fn on_acked(&mut self, key: SegmentKey) -> Option<Finished> {
        let segment = self.segments.remove(&key)?;
        let message = self.messages.get_mut(&segment.message)?;
        message.segments_left -= 1;
        if message.segments_left > 0 {
            return None;
        }
        let message = self.messages.remove(&segment.message)?;
        self.unacked_bytes -= message.outgoing.content.len() as u64;
        Some(if message.failed { Finished::Buried } else { Finished::Acked(segment.message) })
    }

    /// Queues a segment again. Returns its message if that just ran out of attempts.
    pub(crate) fn on_lost(
        &mut self,
        key: SegmentKey,
        reason: LossReason,
        max_attempts: u32,
    ) -> Option<SendKey> {
        let segment = self.segments.get_mut(&key)?;
        segment.loss = Some(reason);
        let message = self.messages.get_mut(&segment.message)?;
        if !segment.queued {
            segment.queued = true;
            self.queues[segment.queue as usize].lost.push_back(key);
        }
        if message.failed || segment.attempts < max_attempts {
            return None;
        }
        message.failed = true;
        let failed = segment.message;
        self.bury(failed);
        Some(failed)
    }

    /// Replaces the pieces of a failed message by small `skip`s in the same places: the channel's order has no hole, and
    /// what follows is not held up for ever.
    fn bury(&mut self, message: SendKey) {
        for segment in self.segments.values_mut().filter(|segment| segment.message == message) {
            segment.content = Content::of(&SkipContent { bytes: segment.window_cost });
        }
    }

    /// Messages queued or sent and not yet acknowledged.
    pub(crate) fn unacked_messages(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn unacked_bytes(&self) -> u64 {
        self.unacked_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Everything that was not acknowledged, in the order in which it was queued, for a connection that starts anew.
    pub(crate) fn into_unacked(self) -> Vec<(SendKey, Outgoing)> {
        let live = self.messages.into_iter().filter(|(_, message)| !message.failed);
        live.map(|(key, message)| (key, message.outgoing)).collect()
    }
}

/// Whether a segment goes out for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resend {
    Yes,
    No,
}

/// Cuts the content so that each frame fits the segment size; one piece if it fits whole.
fn cut(message: &Outgoing, mss: ByteCount) -> Vec<Content> {
    let mss = mss.as_u64() as usize;
    let room = mss.saturating_sub(ENVELOPE_BYTES + names_len(message)).max(MIN_PIECE_BYTES);
    if message.content.len() <= room {
        return vec![message.content.clone()];
    }
    let text = message.content.as_str();
    let mut pieces = Vec::new();
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

fn names_len(message: &Outgoing) -> usize {
    message.msg_id.len() + message.sender.len() + message.msg_type.as_str().len()
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
const TYPICAL_ENVELOPE_BYTES: usize = 165;
/// The fragment field and the quotes of the piece.
const FRAGMENT_BYTES: usize = 56;
/// However small the segment size: pieces must make progress.
const MIN_PIECE_BYTES: usize = FRAGMENT_BYTES + 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Outgoing {
        Outgoing {
            msg_id: "m".into(),
            msg_type: MsgType::Chat,
            sender: "alice".into(),
            content: Content::of(&serde_json::json!({ "text": text })),
            timestamp_us: 4_000_000_000_000_000,
            priority: Priority::Chat,
            channel: 1023,
            delivery: Delivery::default(),
        }
    }

    #[test]
    fn no_frame_is_longer_than_a_segment() {
        let config = TransportConfig::default();
        for text in ["x".repeat(5000), "\"\\".repeat(2000), "€\n".repeat(1500), "x".repeat(950)] {
            let mut sender = Sender::new();
            sender.queue(&config, Timestamp::ZERO, message(&text)).unwrap();
            let mut joined = String::new();
            while let Some((key, _)) = sender.next(u64::MAX) {
                let frame = sender.frame(key, 9_999_999_999).unwrap();
                let mut body = Vec::new();
                assert!(frame.encode(&mut body) as u64 <= config.mss.as_u64(), "{}", body.len());
                joined.push_str(frame.content.as_str());
                sender.on_sent(key);
            }
            assert_eq!(Content::checked(joined).unwrap(), message(&text).content);
        }
    }

    #[test]
    fn control_leaves_before_chat_before_bulk_and_lost_before_fresh() {
        let config = TransportConfig::default();
        let mut sender = Sender::new();
        for (channel, priority) in
            (0..).zip([Priority::Bulk, Priority::Chat, Priority::Control, Priority::Chat])
        {
            sender.queue(&config, Timestamp::ZERO, Outgoing { priority, channel, ..message("x") }).unwrap();
        }
        let mut order = Vec::new();
        let mut first_chat = None;
        while let Some((key, resend)) = sender.next(u64::MAX) {
            let priority = sender.frame(key, 1).unwrap().priority;
            order.push((priority, resend));
            sender.on_sent(key);
            if priority == Priority::Chat && first_chat.is_none() {
                first_chat = Some(key);
                sender.on_lost(key, LossReason::Timeout, 10);
            }
        }
        use Priority::{Bulk, Chat, Control};
        assert_eq!(
            order,
            [
                (Control, Resend::No),
                (Chat, Resend::No),
                (Chat, Resend::Yes),
                (Chat, Resend::No),
                (Bulk, Resend::No)
            ]
        );
    }

    #[test]
    fn within_a_channel_nothing_overtakes_what_waits_there() {
        let config = TransportConfig::default();
        let mut sender = Sender::new();
        for priority in [Priority::Bulk, Priority::Control, Priority::Chat] {
            sender.queue(&config, Timestamp::ZERO, Outgoing { priority, ..message("x") }).unwrap();
        }
        let mut order = Vec::new();
        while let Some((key, _)) = sender.next(u64::MAX) {
            order.push(sender.frame(key, 1).unwrap().sequence_number);
            sender.on_sent(key);
        }
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_too() {
        let config = TransportConfig { max_queued_bytes: ByteCount(100), ..TransportConfig::default() };
        let mut sender = Sender::new();
        sender.queue(&config, Timestamp::ZERO, message(&"x".repeat(60))).unwrap();
        let refused = sender.queue(&config, Timestamp::ZERO, message(&"x".repeat(60)));
        assert_eq!(refused, Err(SendError::QueueBytes { limit: ByteCount(100) }));
    }

    #[test]
    fn the_peers_window_holds_back_fresh_segments_only() {
        let config = TransportConfig::default();
        let mut sender = Sender::new();
        sender.queue(&config, Timestamp::ZERO, message("0123456789")).unwrap();
        let (key, _) = sender.next(100).unwrap();
        sender.on_sent(key);
        sender.queue(&config, Timestamp::ZERO, message("0123456789")).unwrap();
        assert_eq!(sender.next(30), None);
        sender.on_lost(key, LossReason::Timeout, 10);
        assert_eq!(sender.next(30), Some((key, Resend::Yes)));
    }
}
