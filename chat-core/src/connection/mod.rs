//! The reliable connection of one session: one value at each end, whatever carries its frames.
//!
//! Two kinds of number are never mixed. A *packet number* names one transmission and is never used again, so an ack
//! always says which transmission arrived and no RTT sample is ambiguous. A *sequence number* names a message in its
//! channel and stays the same when it is sent again, so the receiver drops duplicates and delivers in order for each
//! channel; a hole in one channel holds up no other.
//!
//! Loss recovery follows RFC 9002: a packet is lost when later ones were acknowledged, by their number or by the time that
//! has passed since (`loss`); a flight whose end got lost is probed, which declares nothing lost (`timer`). In the
//! `classic` profile three later acks (RFC 5681) and the RTO of RFC 6298 do both. What was lost goes out again in new
//! packets, and only that.
//!
//! Left out on purpose: the handshake, which decides *which* connection a frame belongs to and therefore lives above, in
//! the server's engine and the client's session.

mod ack_policy;
mod delays;
mod delivery;
mod ecn;
mod inbox;
mod length;
mod loss;
mod mtu;
mod outbox;
mod pacer;
mod persistent;
mod ranges;
mod receive;
mod redundancy;
mod rtt;
mod sent;
mod skips;
mod spurious;
mod stats;
mod timer;
mod transmit;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use units::{Bitrate, ByteCount, Timestamp};

use crate::config::{CarrierHint, TransportConfig};
use crate::congestion::{self, AckBatch, AckedPacket, Controller, LostPacket, RateSampler, RttView};
use crate::path::Ecn;
use crate::trace::steps::{Step, StepKind, StepLog};
use crate::trace::{LossReason, Metrics, TraceEvent, TraceKind};
use crate::wire::{Content, EcnCounts, Frame, Label, MsgType, Order, Priority};

pub use delays::Delays;
pub use delivery::{Delivery, Failure, Reliability};
pub use mtu::{Lost as MtuLost, PathMtu};
pub use outbox::{Outgoing, SendError, SendKey};
pub use ranges::AckRanges;

pub use stats::Stats;

use ack_policy::AckState;
use delays::{HoldClock, WaitLog};
use ecn::EcnPath;
use inbox::Inbox;
use length::Length;
use loss::LossDetector;
use outbox::{Finished, Outbox, SegmentKey};
use pacer::Pacer;
use persistent::PersistentCongestion;
use redundancy::Policy;
use rtt::RttEstimator;
use sent::{PacketState, SentPackets};
use skips::Skips;
use spurious::Episode;
use timer::Timers;

/// One end of a session.
///
/// # Calling order
/// Feed one input ([`handle_packet`](Self::handle_packet), [`handle_damaged`](Self::handle_damaged),
/// [`handle_timeout`](Self::handle_timeout), [`send`](Self::send), [`rebind`](Self::rebind)), then drain
/// [`poll_packet`](Self::poll_packet), [`poll_event`](Self::poll_event) and, when tracing,
/// [`poll_trace`](Self::poll_trace) until each gives nothing, then wait until
/// [`poll_timeout`](Self::poll_timeout). Timeouts that come early or twice do nothing.
#[derive(Debug)]
pub struct Connection {
    config: TransportConfig,
    /// The name this end writes into frames of its own: acks, nacks, heartbeats.
    name: Label,
    /// Wall-clock microseconds since the Unix epoch at [`Timestamp::ZERO`], to stamp own frames with.
    unix_us_at_zero: u64,
    sender: Outbox,
    sent: SentPackets,
    receiver: Inbox,
    redundancy: Policy,
    acks: AckState,
    rtt: RttEstimator,
    controller: Box<dyn Controller>,
    rate: RateSampler,
    /// The latest sample of it.
    delivery_rate: Option<Bitrate>,
    timers: Timers,
    /// When the present carrier was taken into use.
    path_since: Timestamp,
    /// When the first RTT sample was taken.
    sampled_since: Option<Timestamp>,
    loss: LossDetector,
    persistent: PersistentCongestion,
    episode: Episode,
    pacer: Pacer,
    /// The controller's rate, asked for once after each change.
    pacing_rate: Option<Bitrate>,
    ecn_path: EcnPath,
    length: Length,
    /// The mark of the packet that is about to come.
    arrived_with: Ecn,
    skips: Skips,
    hold: HoldClock,
    waits: WaitLog,
    steps: StepLog,
    /// What one input has settled; kept to be filled again without allocating.
    acked: Vec<AckedPacket>,
    lost: Vec<LostPacket>,
    fresh_acks: Vec<u64>,
    /// No packet below this is in flight and undecided.
    first_undecided: u64,
    /// Right edge of the peer's receive window.
    peer_window_end: u64,
    /// Damaged packets to report.
    nacks: VecDeque<Nack>,
    /// Packets that may leave whatever the congestion window says.
    forced: Forced,
    heartbeat_due: bool,
    bye: Option<Content>,
    is_dead: bool,
    stats: Stats,
    tracing: bool,
    trace: VecDeque<TraceEvent>,
}

/// Permits to send beyond the congestion window.
#[derive(Clone, Copy, Debug, Default)]
struct Forced {
    /// Retransmissions: the first after a loss was declared (RFC 5681 section 3.2 step 2).
    retransmits: u32,
    /// Probes of a silent path.
    probes: u32,
}

/// What a connection tells its owner.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message of the peer, once and in the order of its channel.
    Message(Incoming),
    /// Every byte of a message was acknowledged; `delays` says what it had waited for.
    Acked { key: SendKey, delays: Delays },
    /// A message was given up and never acknowledged. If it was sent at all, it may or may not have arrived.
    Failed { key: SendKey, cause: Failure },
    /// The peer gave up on a message of ours to receive; its place in the channel is passed over.
    Skipped { channel: u32, sequence_number: u64 },
    /// A message of the peer could not be put together.
    Refused { msg_id: Label, reason: String },
    /// The peer said goodbye.
    Bye { content: Content },
    /// The peer broke the protocol; the connection should be closed with this sentence.
    Violation { reason: String },
    /// Nothing was heard for the idle timeout.
    Dead,
}

/// A message that arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    pub msg_id: Label,
    pub msg_type: MsgType,
    pub sender: Label,
    pub content: Content,
    /// Microseconds since the Unix epoch, by the sender's clock.
    pub timestamp_us: u64,
    pub priority: Priority,
    pub channel: u32,
    pub order: Order,
    /// How long it was whole and waited for what comes before it.
    pub order_wait: Duration,
}

/// `[channel, right edge]` of single channels; a few are kept in place.
pub type ChannelWindows = SmallVec<[(u32, u64); 2]>;

/// Content of an `ack`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AckContent {
    /// Packet numbers that arrived, as inclusive ranges from high to low.
    pub ranges: AckRanges,
    /// Right edge of the receive window: total content bytes of numbered messages that the peer may have sent in this
    /// session. Absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Right edges of single channels, counted like `window`, as `[channel, end]`; those of this ack, at most
    /// [`MAX_CHANNEL_WINDOWS`]. A channel of which nothing was told has none of its own.
    #[serde(default, skip_serializing_if = "SmallVec::is_empty")]
    pub channels: ChannelWindows,
    /// How long the highest packet waited for this ack, in microseconds.
    #[serde(default)]
    pub delay_us: u64,
    /// Numbered packets that arrived with each ECN codepoint: `[ECT(0), ECT(1), CE]`. Absent: the carrier cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecn: Option<EcnCounts>,
}

/// Content of a `nack`: a frame arrived damaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nack {
    /// The packet number in the damaged frame, which may itself be damaged. 0: unreadable.
    pub packet: u64,
    pub reason: String,
}

/// Content of a `skip`: stands in the place of a message that its sender gave up on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkipContent {
    /// Bytes of the content it replaces, for the receive window.
    pub bytes: u64,
    /// Sequence numbers that it stands for, its own and those that follow.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
}

impl Connection {
    /// A connection whose peer was just met, at `now`. `name` is this end's user name, or `server`; `unix_us_at_zero` is
    /// the wall-clock time of [`Timestamp::ZERO`] in microseconds since the Unix epoch.
    #[must_use]
    pub fn new(now: Timestamp, config: TransportConfig, name: Arc<str>, unix_us_at_zero: u64) -> Self {
        Self {
            controller: congestion::build(&config),
            name: name.into(),
            unix_us_at_zero,
            sender: Outbox::new(),
            sent: SentPackets::new(),
            receiver: Inbox::new(),
            redundancy: Policy::new(config.redundancy),
            acks: AckState::default(),
            rtt: RttEstimator::new(),
            rate: RateSampler::default(),
            delivery_rate: None,
            timers: Timers::new(now),
            path_since: now,
            sampled_since: None,
            loss: LossDetector::new(&config),
            persistent: PersistentCongestion::default(),
            episode: Episode::default(),
            pacer: Pacer::default(),
            pacing_rate: None,
            ecn_path: EcnPath::new(wants_marks(&config)),
            length: Length::new(&config),
            arrived_with: Ecn::NotEct,
            skips: Skips::new(config.skip_seed),
            hold: HoldClock::default(),
            waits: WaitLog::default(),
            steps: StepLog::default(),
            acked: Vec::new(),
            lost: Vec::new(),
            fresh_acks: Vec::new(),
            first_undecided: 1,
            peer_window_end: INITIAL_WINDOW,
            nacks: VecDeque::new(),
            forced: Forced::default(),
            heartbeat_due: false,
            bye: None,
            is_dead: false,
            stats: Stats::default(),
            tracing: false,
            trace: VecDeque::new(),
            config,
        }
    }

    /// What carries the connection from now on; before [`Self::rebind`] where it changes.
    pub fn set_carrier(&mut self, carrier: CarrierHint) {
        self.config.carrier = self.config.carrier_assumed.unwrap_or(carrier);
        self.loss.on_new_path(&self.config);
    }

    /// The datagrams go through a socket that sets and reads ECN, and forbids fragments; before [`Self::rebind`]. Without
    /// effect in `classic`.
    pub fn on_capable_socket(&mut self) {
        self.config = self.config.clone().with_capable_socket();
    }

    /// An RTT that the owner has measured, by the handshake: the probe timer begins with it. Without effect once there
    /// are samples.
    pub fn set_initial_rtt(&mut self, rtt: Duration) {
        self.config.initial_rtt = rtt;
    }

    /// Records [`TraceEvent`]s from now on.
    pub fn set_tracing(&mut self, on: bool) {
        self.tracing = on;
    }

    /// Keeps what happens to messages that meet trouble from now on; see [`Self::take_steps`].
    pub fn set_step_tracing(&mut self, on: bool) {
        self.steps.set_on(on);
    }

    /// What happened to a message on its way, in order of time, and forgets it: to be asked for when it was acknowledged or
    /// has failed, or before the connection is dropped. Nothing of a message that met no trouble.
    pub fn take_steps(&mut self, key: SendKey) -> Vec<Step> {
        self.steps.take(key.number())
    }

    /// Steps for which there was no room.
    #[must_use]
    pub fn steps_left_out(&self) -> u64 {
        self.steps.left_out()
    }

    /// Queues a message at `now`. It is acknowledged or fails by an [`Event`], never in silence.
    pub fn send(&mut self, now: Timestamp, message: Outgoing) -> Result<SendKey, SendError> {
        let key = self.sender.queue(&self.config, now, message)?;
        self.waits.on_queued(key.number(), self.hold.read(now));
        self.stats.messages_out += 1;
        Ok(key)
    }

    /// Sets the share of a channel among those of its priority that have something to send; 1 without it, at most 100.
    pub fn set_weight(&mut self, channel: u32, weight: NonZeroU32) -> Result<(), SendError> {
        let limit = self.config.max_channels;
        let is_open = self.sender.set_weight(channel, weight, limit);
        if is_open { Ok(()) } else { Err(SendError::TooManyChannels { limit }) }
    }

    /// Says goodbye with the next frame. What is not acknowledged by then is not waited for.
    pub fn say_bye(&mut self, reason: &str) {
        self.bye = Some(Content::of(&serde_json::json!({ "reason": reason })));
    }

    /// The session continues on another carrier: whatever was under way is taken as lost, and the path as unknown.
    /// No congestion is concluded from it.
    pub fn rebind(&mut self, now: Timestamp) {
        let mut from = 0;
        while let Some((number, _)) = self.sent.next_in_flight(from, u64::MAX) {
            self.declare_lost(now, number, LossReason::Rebind);
            from = number + 1;
        }
        self.first_undecided = self.sent.next_number();
        self.timers = Timers::new(now);
        self.forget_path(now);
        self.forced = Forced::default();
        self.acks.demand();
        self.is_dead = false;
        if self.sent.next_number() > 1 {
            self.emit(now, TraceKind::Rebound);
        }
    }

    /// Everything that was learnt of the path (RFC 9000 section 9.4).
    fn forget_path(&mut self, now: Timestamp) {
        self.rtt = RttEstimator::new();
        self.controller.on_new_path();
        self.loss.on_new_path(&self.config);
        self.timers.loss = None;
        self.persistent.on_acked();
        self.sampled_since = None;
        self.episode = Episode::default();
        self.ecn_path.on_new_path(wants_marks(&self.config));
        self.length = Length::new(&self.config);
        self.controller.on_mss(self.mss());
        self.pacer = Pacer::default();
        self.refresh_pacing();
        self.path_since = now;
    }

    /// What the peer has told so far: the highest packet number that came from it, and the highest of ours that it
    /// acknowledged. A packet that changes this was sent just now; copies and stragglers do not.
    #[must_use]
    pub fn news(&self) -> (u64, u64) {
        let received = self.acks.ranges.as_slice().first().map_or(0, |&(_, high)| high);
        (received, self.loss.newest())
    }

    /// The peer is at another address now, and what is sent reaches it there. Numbers and order go on, nothing is taken
    /// as lost. If only the port changed, so did the path hardly, and what is known of it stays (RFC 9000 section 9.4).
    pub fn on_migrated(&mut self, now: Timestamp, is_same_host: bool) {
        if !is_same_host {
            self.forget_path(now);
        }
        // What went to the old address lately is gone: the ack of a probe tells so within a round trip.
        self.forced.probes += u32::from(!self.sent.is_idle());
    }

    /// The datagram whose packet comes next had this mark.
    pub fn handle_ecn(&mut self, ecn: Ecn) {
        self.arrived_with = ecn;
    }

    /// The mark that the next datagrams are to carry.
    #[must_use]
    pub fn codepoint(&self) -> Ecn {
        self.ecn_path.codepoint()
    }

    /// The next event. Taking a message opens the receive window again by its size.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some((key, cause)) = self.sender.poll_failure() {
            self.stats.messages_failed += 1;
            self.waits.on_failed(key.number());
            return Some(Event::Failed { key, cause });
        }
        let event = self.receiver.poll_event()?;
        if let Event::Message(_) = event {
            self.stats.messages_in += 1;
        }
        // RFC 9293 section 3.8.6.2.2: tell a window that has opened by half at once, it may be what the peer waits for.
        let window_end = self.receiver.window_end(self.config.receive_window);
        if window_end - self.acks.window_told >= self.config.receive_window.as_u64() / 2 {
            self.acks.demand();
        }
        Some(event)
    }

    /// The next trace event; `None` when drained, or when tracing is off.
    pub fn poll_trace(&mut self) -> Option<TraceEvent> {
        self.trace.pop_front()
    }

    /// Whether everything sent was acknowledged and nothing waits.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.sender.is_empty()
    }

    /// Messages queued or sent, and not yet acknowledged.
    #[must_use]
    pub fn unacked_messages(&self) -> usize {
        self.sender.unacked_messages()
    }

    /// Their bytes.
    #[must_use]
    pub fn unacked_bytes(&self) -> ByteCount {
        ByteCount(self.sender.unacked_bytes())
    }

    /// Ends this connection and gives back what was not acknowledged, in order, for one that starts anew.
    #[must_use]
    pub fn into_unacked(self) -> Vec<(SendKey, Outgoing)> {
        self.sender.into_unacked()
    }

    /// The number that the next packet will have.
    #[must_use]
    pub fn next_packet(&self) -> u64 {
        self.sent.next_number()
    }

    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    #[must_use]
    pub fn config(&self) -> &TransportConfig {
        &self.config
    }

    /// Its congestion window, and its smoothed RTT, if it has one: what [`Self::metrics`] say, without all the rest.
    #[must_use]
    pub fn cwnd(&self) -> ByteCount {
        self.controller.cwnd()
    }

    /// See [`Self::cwnd`].
    #[must_use]
    pub fn smoothed_rtt(&self) -> Option<Duration> {
        self.rtt.smoothed()
    }

    /// State of the transport now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            cwnd: self.controller.cwnd(),
            ssthresh: self.controller.ssthresh(),
            in_flight: self.sent.bytes_in_flight(),
            packets_in_flight: self.sent.packets_in_flight(),
            latest_rtt: self.rtt.latest(),
            min_rtt: self.rtt.min(),
            srtt: self.rtt.smoothed(),
            rttvar: self.rtt.variance(),
            rto: self.recovery_timeout(),
            pto_count: self.rtt.backoff(),
            pacing_rate: self.pacing_rate,
            delivery_rate: self.delivery_rate,
            state: self.controller.state(),
        }
    }

    /// What must hold at any time; for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let (bytes, packets) = self.sent.count_in_flight();
        assert_eq!(
            self.sent.bytes_in_flight(),
            bytes,
            "bytes in flight are the sum of the packets in flight"
        );
        assert_eq!(self.sent.packets_in_flight(), packets);
        self.receiver.check(&self.config);
    }

    /// Packets looked at to find what acks told anew, ever; for tests.
    #[cfg(test)]
    pub(crate) fn packets_looked_at(&self) -> u64 {
        self.sent.looked_at
    }

    /// Settles one packet as lost and queues its segment again.
    fn declare_lost(&mut self, now: Timestamp, number: u64, reason: LossReason) -> Option<LostPacket> {
        let packet = self.sent.mark(number, PacketState::Lost { at: now, told: false })?;
        let lost =
            LostPacket { number, size: packet.size, sent_at: packet.sent_at, delivery: packet.delivery };
        self.stats.packets_lost += 1;
        let is_search = self.length.is_probe(number);
        if !is_search && !matches!(reason, LossReason::Nack | LossReason::Rebind) {
            self.redundancy.on_lost(number);
        }
        self.emit(now, TraceKind::Lost { packet: number, reason });
        if packet.is_marked && !is_search {
            self.ecn_path.on_lost();
        }
        self.note_steps(now, number, StepKind::Lost(reason));
        for segment in (0..packet.segments).filter_map(|index| self.sent.segment(number, index)) {
            self.sender.on_lost(segment, reason, self.config.max_attempts, &mut self.stats);
        }
        Some(lost)
    }

    /// Tells the controller what one event has settled, as it stands in `self.acked` and `self.lost`, and empties both.
    /// `prior_in_flight` is from before it.
    fn tell_controller(
        &mut self,
        now: Timestamp,
        prior_in_flight: ByteCount,
        rtt_sample: Option<Duration>,
        ecn_ce: u64,
    ) {
        for packet in &self.acked {
            self.rate.on_acked(now, packet.sent_at, packet.size, packet.delivery);
        }
        for packet in &self.lost {
            self.rate.on_lost(packet.size);
        }
        let rate = self.rate.sample(self.rtt.min());
        self.delivery_rate = rate.and_then(|rate| rate.delivery_rate).or(self.delivery_rate);
        self.controller.on_acks(&AckBatch {
            now,
            acked: &self.acked,
            lost: &self.lost,
            ecn_ce,
            prior_in_flight,
            in_flight: self.sent.bytes_in_flight(),
            next_packet: self.sent.next_number(),
            rtt: RttView { latest: rtt_sample, smoothed: self.rtt.smoothed(), min: self.rtt.min() },
            rate,
        });
        self.acked.clear();
        self.lost.clear();
        if self.config.time_threshold
            && self.persistent.is_established(self.rtt.base_timeout(self.config.max_ack_delay))
        {
            self.stats.persistent_congestion += 1;
            self.rtt.on_persistent_congestion();
            self.controller.on_persistent_congestion(now);
            self.emit(now, TraceKind::PersistentCongestion);
        }
        self.refresh_pacing();
    }

    /// The controller may have changed its rate.
    fn refresh_pacing(&mut self) {
        let rate = self.controller.pacing_rate(self.rtt.smoothed());
        self.pacing_rate = rate.filter(|_| self.config.pacing);
    }

    fn emit(&mut self, at: Timestamp, kind: TraceKind) {
        if !self.tracing {
            return;
        }
        // A driver drains after every input; the bound is for one that forgets.
        if self.trace.len() == MAX_TRACE_EVENTS {
            self.trace.pop_front();
            self.stats.trace_overflow += 1;
        }
        let metrics = self.metrics();
        self.trace.push_back(TraceEvent { at, kind, metrics });
    }

    /// A segment was acknowledged, by `packet`, which left at `sent_at`.
    fn note_finished(&mut self, now: Timestamp, finished: Option<Finished>, packet: u64, sent_at: Timestamp) {
        if let Some(Finished::Acked(key)) = finished {
            self.stats.messages_acked += 1;
            self.steps.push_on(key.number(), Step { at: now, packet, kind: StepKind::Acked });
            let delays = self.waits.on_acked(key.number(), sent_at);
            self.receiver.push_event(Event::Acked { key, delays });
        }
    }

    /// Something happened to whatever a packet carries and is not acknowledged yet.
    fn note_steps(&mut self, now: Timestamp, number: u64, kind: StepKind) {
        if !self.steps.is_on() {
            return;
        }
        let Some(packet) = self.sent.get(number) else {
            return;
        };
        for &segment in &packet.segments {
            if let Some(key) = self.sender.message(segment) {
                let step = Step { at: now, packet: number, kind };
                self.steps.push(key.number(), (packet.sent_at, number), step);
            }
        }
    }

    /// A segment leaves, and not for the first time.
    fn note_repeat(&mut self, now: Timestamp, segment: SegmentKey, packet: u64, kind: StepKind) {
        if self.steps.is_on()
            && let Some(key) = self.sender.message(segment)
        {
            self.steps.push(key.number(), (now, packet), Step { at: now, packet, kind });
        }
    }

    /// A frame of this end's own, outside channels.
    fn own_frame(&self, now_us: u64, msg_type: MsgType, content: Content, packet: u64) -> Frame {
        Frame {
            msg_id: "".into(),
            msg_type,
            sender: self.name.clone(),
            content,
            timestamp_us: now_us,
            priority: Priority::Control,
            sequence_number: 0,
            packet,
            channel: 0,
            order: Order::Ordered,
            fragment: None,
        }
    }
}

/// What the peer's receive window is taken to be until its first ack: 64 KiB, TCP's largest without scaling.
pub const INITIAL_WINDOW: u64 = 65_536;
/// Channel windows taken from one ack; what a peer lists beyond is ignored.
pub const MAX_CHANNEL_WINDOWS: usize = 64;
/// Trace events kept if nobody drains them.
const MAX_TRACE_EVENTS: usize = 65_536;

/// A byte stream has marks of its own, which are none of the frames' in it.
fn wants_marks(config: &TransportConfig) -> bool {
    config.ecn && config.carrier == CarrierHint::Datagram
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_one(count: &u32) -> bool {
    *count == 1
}
