//! A bulk flow at a bottleneck that marks before it drops: marks reduce the window gently, once per round, and nothing is
//! lost.
//!
//! The queue does what an active queue management does on a standing queue (RFC 3168 section 5, `netem` with `ecn`): above
//! a threshold a datagram that takes part is marked, and one that does not is dropped.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use units::{Bitrate, ByteCount, Timestamp};

use crate::config::{CongestionControl, TransportConfig};
use crate::congestion::State;
use crate::connection::{Connection, Delivery, Outgoing};
use crate::path::Ecn;
use crate::wire::{Content, MsgType, Origin, Packet, PacketForm, PacketWriter, Priority};

#[test]
fn marks_reduce_the_window_once_per_round_and_nothing_is_lost() {
    // Factors in hundredths: RFC 9438 section 4.6, RFC 5681 equation 4, and with abe RFC 8511 section 3.1.
    for (congestion, abe, percent) in [
        (CongestionControl::Cubic, true, 85),
        (CongestionControl::Cubic, false, 70),
        (CongestionControl::Reno, true, 80),
        (CongestionControl::Reno, false, 50),
    ] {
        let what = format!("{congestion:?}, abe {abe}");
        let config = TransportConfig { congestion, abe, ecn: true, ..TransportConfig::default() };
        let mut lab = Lab::new(config);
        lab.run_until(Timestamp::from_secs(60));
        let stats = *lab.ends[0].stats();
        assert_eq!((lab.dropped, stats.packets_lost, stats.retransmits), (0, 0, 0), "{what}");
        assert_eq!((stats.ecn_failures, lab.ends[0].codepoint()), (0, Ecn::Ect0), "{what}");
        // The queue fills every few seconds at least, and stays above its threshold for a round trip each time.
        let count = lab.reductions.len() as u64;
        assert!(count >= 10, "{what}: {count} reductions");
        assert!(stats.ecn_ce_told >= 2 * count, "{what}: {} marks, {count} reductions", stats.ecn_ce_told);
        for pair in lab.reductions.windows(2) {
            let (earlier, later) = (&pair[0], &pair[1]);
            // What was sent before a reduction does not cause another one.
            assert!(later.acked >= earlier.next_packet, "{what}: {earlier:?} and again {later:?}");
            assert!(later.at.since(earlier.at) >= 2 * DELAY, "{what}: {earlier:?} and again {later:?}");
        }
        // The first one ends slow start.
        for reduction in &lab.reductions[1..] {
            let expected = reduction.cwnd_before * percent / 100;
            let is_near = (expected.saturating_sub(2 * MSS)..=expected).contains(&reduction.ssthresh);
            assert!(is_near, "{what}: {expected} expected, {reduction:?}");
        }
        assert!(lab.unanswered.is_empty(), "{what}: marks without an answer at {:?}", lab.unanswered);
    }
}

#[test]
fn the_same_queue_drops_what_does_not_take_part() {
    let mut lab = Lab::new(TransportConfig::default());
    lab.run_until(Timestamp::from_secs(20));
    let stats = lab.ends[0].stats();
    assert!(lab.dropped > 10 && stats.packets_lost > 10, "{} dropped, {stats:?}", lab.dropped);
    assert_eq!(stats.ecn_ce_told, 0);
}

/// The slow-start threshold was set.
#[derive(Debug)]
struct Reduction {
    at: Timestamp,
    cwnd_before: u64,
    ssthresh: u64,
    /// The largest packet that the ack named which caused it.
    acked: u64,
    /// The number that the next packet will have.
    next_packet: u64,
}

/// A sender that always has something to say, the queue, and the receiver. The way back only takes time.
struct Lab {
    now: Timestamp,
    ends: [Connection; 2],
    origins: [Origin; 2],
    ways: [VecDeque<(Timestamp, Bytes, Ecn)>; 2],
    rate: Bitrate,
    busy_until: Timestamp,
    dropped: u64,
    reductions: Vec<Reduction>,
    /// When an ack told of marks on packets sent after the latest reduction, and the window was not reduced.
    unanswered: Vec<Timestamp>,
    sent: u64,
    said: u64,
}

impl Lab {
    fn new(config: TransportConfig) -> Self {
        let names = ["a", "b"];
        Self {
            now: Timestamp::ZERO,
            ends: names.map(|name| Connection::new(Timestamp::ZERO, config.clone(), name.into(), 0)),
            origins: names.map(|name| Origin { name: name.into(), ..Origin::default() }),
            ways: [VecDeque::new(), VecDeque::new()],
            rate: Bitrate::from_bits_per_second(10_000_000).expect("not zero"),
            busy_until: Timestamp::ZERO,
            dropped: 0,
            reductions: vec![],
            unanswered: vec![],
            sent: 0,
            said: 0,
        }
    }

    fn run_until(&mut self, end: Timestamp) {
        loop {
            let arrivals = self.ways.iter().filter_map(|way| way.front().map(|(at, ..)| *at));
            let deadlines = self.ends.iter().filter_map(Connection::poll_timeout);
            let next = arrivals.chain(deadlines).min().unwrap_or(self.now).max(self.now);
            if next > end {
                return;
            }
            self.now = next;
            self.hear();
            self.take_acks();
            for connection in &mut self.ends {
                connection.handle_timeout(next);
            }
            self.speak();
            self.drain();
        }
    }

    /// The receiver takes what has arrived.
    fn hear(&mut self) {
        while let Some((_, bytes, ecn)) = self.ways[0].pop_front_if(|(at, ..)| *at <= self.now) {
            self.ends[1].handle_ecn(ecn);
            self.ends[1].handle_packet(self.now, decode(&bytes, &self.origins[0]));
        }
    }

    /// The sender takes what has come back, and what it makes of it is noted.
    fn take_acks(&mut self) {
        while let Some((_, bytes, ecn)) = self.ways[1].pop_front_if(|(at, ..)| *at <= self.now) {
            let packet = decode(&bytes, &self.origins[1]);
            let acked = packet.acks.iter().filter_map(|ack| ack.ranges.largest()).max().unwrap_or(0);
            let (before, told_before) = (self.ends[0].metrics(), self.ends[0].stats().ecn_ce_told);
            self.ends[0].handle_ecn(ecn);
            self.ends[0].handle_packet(self.now, packet);
            let (after, told) = (self.ends[0].metrics(), self.ends[0].stats().ecn_ce_told);
            let is_new = self.reductions.last().is_none_or(|latest| acked >= latest.next_packet);
            // A cycle that repeats to the byte sets the same threshold again.
            let began = after.state == State::FastRecovery && before.state != State::FastRecovery;
            if after.ssthresh != before.ssthresh || began {
                self.reductions.push(Reduction {
                    at: self.now,
                    cwnd_before: before.cwnd.as_u64(),
                    ssthresh: after.ssthresh.expect("it was just set").as_u64(),
                    acked,
                    next_packet: self.sent + 1,
                });
            } else if told > told_before && is_new {
                self.unanswered.push(self.now);
            }
        }
    }

    fn speak(&mut self) {
        while self.ends[0].unacked_messages() < BACKLOG {
            self.said += 1;
            let message = Outgoing {
                msg_id: self.said.to_string().into(),
                msg_type: MsgType::Chat,
                sender: "a".into(),
                content: Content::of(&"x".repeat(950)),
                timestamp_us: self.now.as_micros(),
                priority: Priority::Bulk,
                channel: 1,
                delivery: Delivery::default(),
            };
            self.ends[0].send(self.now, message).expect("the backlog is below the bounds");
        }
    }

    fn drain(&mut self) {
        for from in 0..2 {
            loop {
                let mut body = Vec::new();
                let writer = PacketWriter::new(&mut body, PacketForm::BinaryDatagram, MSS as usize);
                let mark = self.ends[from].codepoint();
                if self.ends[from].poll_packet(self.now, writer.from(&self.origins[from])) == 0 {
                    break;
                }
                self.transmit(from, body.into(), mark);
            }
            while self.ends[from].poll_event().is_some() {}
        }
    }

    fn transmit(&mut self, from: usize, bytes: Bytes, mut mark: Ecn) {
        let mut leaves = self.now;
        if from == 0 {
            let number = decode(&bytes, &self.origins[0]).frames.iter().map(|frame| frame.packet).max();
            self.sent = self.sent.max(number.unwrap_or(0));
            let start = self.busy_until.max(self.now);
            let is_congested = start.since(self.now) > THRESHOLD;
            if is_congested && mark == Ecn::NotEct {
                self.dropped += 1;
                return;
            }
            mark = if is_congested { Ecn::Ce } else { mark };
            let size = ByteCount(bytes.len() as u64 + IP_AND_UDP_BYTES);
            self.busy_until = start + self.rate.transmit_time(size);
            leaves = self.busy_until;
        }
        self.ways[from].push_back((leaves + DELAY, bytes, mark));
    }
}

fn decode(bytes: &Bytes, origin: &Origin) -> Packet {
    let mut packet = Packet::default();
    packet.decode_into(bytes, origin).expect("nothing is damaged");
    packet
}

const MSS: u64 = 1185;
/// One way. At 10 Mbit/s the path holds 62.5 kB, 53 segments.
const DELAY: Duration = Duration::from_millis(25);
/// Standing queue from which packets are marked: half of what the path holds.
const THRESHOLD: Duration = Duration::from_millis(25);
const IP_AND_UDP_BYTES: u64 = 28;
/// More than any window here.
const BACKLOG: usize = 400;
