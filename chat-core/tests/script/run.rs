//! Steps against a connection.

use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use chat_core::congestion::State;
use chat_core::wire::{Packet as WirePacket, PacketForm, PacketWriter};
use chat_core::{
    CarrierHint, Connection, Content, Delivery, Frame, MsgType, Order, Outgoing, Priority, Profile,
    Redundancy, TransportConfig,
};
use units::{ByteCount, Timestamp};

use super::Script;
use super::parse::{Action, Packet, Relation, Step};

impl Script {
    /// Plays the script. An error says which line was not met, and what happened instead.
    pub(crate) fn run(&self) -> Result<(), String> {
        let mut world = World::new(self.config()?);
        for step in &self.steps {
            world.play(step).map_err(|why| format!("line {}: {why}", step.line))?;
        }
        world.nothing_left_over().map_err(|why| format!("after the last line: {why}"))
    }

    fn config(&self) -> Result<TransportConfig, String> {
        let profile = self.config.iter().find(|(_, name, _)| name == "profile");
        let profile = profile.map_or(Ok(Profile::Modern), |(_, _, value)| value.parse())?;
        let mut config = TransportConfig {
            mss: ByteCount(SEGMENT_BYTES),
            // What is not under test keeps quiet.
            heartbeat: Duration::from_secs(3600),
            idle_timeout: Duration::from_secs(7200),
            max_ack_delay: Duration::ZERO,
            redundancy: Redundancy::Off,
            ..TransportConfig::new(profile)
        };
        for (line, name, value) in &self.config {
            set(&mut config, name, value).map_err(|why| format!("line {line}: {name}: {why}"))?;
        }
        Ok(config)
    }
}

fn set(config: &mut TransportConfig, name: &str, value: &str) -> Result<(), String> {
    let number = || value.parse::<u64>().map_err(|_| format!("\"{value}\" is not a number"));
    let span = || {
        let seconds = value.parse::<f64>().map_err(|_| format!("\"{value}\" is not a number of seconds"));
        seconds.map(Duration::from_secs_f64)
    };
    match name {
        "profile" => {}
        "congestion" => config.congestion = value.parse()?,
        "initial-cwnd" => config.initial_cwnd = number()?,
        "initial-ssthresh" => config.initial_ssthresh = Some(number()?),
        "min-cwnd-thin" => config.min_cwnd_thin = number()?,
        "hystart" => config.hystart = switch(value)?,
        "pacing" => config.pacing = switch(value)?,
        "prr" => config.prr = switch(value)?,
        "abe" => config.abe = switch(value)?,
        "carrier" => {
            config.carrier = match value {
                "datagram" => CarrierHint::Datagram,
                "fifo-stream" => CarrierHint::FifoStream,
                _ => return Err(format!("\"{value}\" is not a carrier; write datagram or fifo-stream")),
            }
        }
        "rto-min" => config.rto_min = span()?,
        "rto-max" => config.rto_max = span()?,
        _ => return Err("no setting of scripts".to_owned()),
    }
    Ok(())
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("\"{value}\" is neither on nor off")),
    }
}

/// A connection, its clock, and what has left without having been asked after.
struct World {
    connection: Connection,
    now: Timestamp,
    /// Script time: where the line before stands.
    at: Timestamp,
    queued: u64,
    /// Packet numbers of each segment's transmissions, oldest first; segment 1 first.
    transmissions: Vec<Vec<u64>>,
    acked: BTreeSet<u64>,
    left: VecDeque<(Timestamp, Packet)>,
    window_end: u64,
}

impl World {
    fn new(config: TransportConfig) -> Self {
        Self {
            connection: Connection::new(Timestamp::ZERO, config, "script".into(), 0),
            now: Timestamp::ZERO,
            at: Timestamp::ZERO,
            queued: 0,
            transmissions: Vec::new(),
            acked: BTreeSet::new(),
            left: VecDeque::new(),
            window_end: 1 << 40,
        }
    }

    fn play(&mut self, step: &Step) -> Result<(), String> {
        self.at += step.after;
        self.advance()?;
        match &step.action {
            Action::Leaves(expected) => return self.leaves(expected),
            Action::Assert { name, relation, value } => return self.assert(name, *relation, value),
            Action::Send(_) | Action::Ack { .. } | Action::AckPackets(_) => self.nothing_left_over()?,
        }
        match &step.action {
            Action::Send(count) => self.send(*count),
            Action::Ack { next, sacks, window } => {
                self.window_end = window.unwrap_or(self.window_end);
                self.ack_segments(*next, sacks)?;
            }
            Action::AckPackets(packets) => self.ack(packets.iter().cloned().flatten().collect()),
            Action::Leaves(_) | Action::Assert { .. } => {}
        }
        self.drain()
    }

    /// Lets time pass up to the script's, with every timer on the way.
    fn advance(&mut self) -> Result<(), String> {
        for _ in 0..MAX_TIMERS {
            let Some(due) = self.connection.poll_timeout().filter(|&due| due <= self.at) else {
                self.now = self.at;
                return Ok(());
            };
            self.now = self.now.max(due);
            self.connection.handle_timeout(self.now);
            self.drain()?;
        }
        Err(format!("timers go off for ever at {}", seconds(self.now)))
    }

    fn drain(&mut self) -> Result<(), String> {
        loop {
            let mut body = Vec::new();
            let writer = PacketWriter::new(&mut body, PacketForm::JsonBare, usize::MAX);
            if self.connection.poll_packet(self.now, writer) == 0 {
                break;
            }
            let packet = WirePacket::decode(&body.into()).map_err(|error| error.to_string())?;
            for frame in packet.frames {
                self.note(&frame)?;
            }
        }
        while self.connection.poll_event().is_some() {}
        Ok(())
    }

    fn note(&mut self, frame: &Frame) -> Result<(), String> {
        if frame.sequence_number == 0 {
            if frame.packet != 0 {
                self.left.push_back((self.now, Packet::Ping));
            }
            return Ok(());
        }
        let segment = frame.sequence_number;
        let index = usize::try_from(segment - 1).map_err(|error| error.to_string())?;
        self.transmissions.resize(self.transmissions.len().max(index + 1), Vec::new());
        self.transmissions[index].push(frame.packet);
        self.left.push_back((self.now, Packet::Data(segment)));
        Ok(())
    }

    fn leaves(&mut self, expected: &[Packet]) -> Result<(), String> {
        for &packet in expected {
            let Some((at, left)) = self.left.pop_front() else {
                let metrics = self.connection.metrics();
                return Err(format!("{packet:?} should leave, nothing does; {metrics:?}"));
            };
            if left != packet {
                return Err(format!("{packet:?} should leave, {left:?} left at {}", seconds(at)));
            }
            if self.at.since(at) > TOLERANCE {
                let (at, due) = (seconds(at), seconds(self.at));
                return Err(format!("{packet:?} left at {at} and should at {due}"));
            }
        }
        Ok(())
    }

    fn nothing_left_over(&self) -> Result<(), String> {
        match self.left.front() {
            Some((at, packet)) => Err(format!("{packet:?} left at {} and should not", seconds(*at))),
            None => Ok(()),
        }
    }

    fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.queued += 1;
            let message = Outgoing {
                msg_id: "m".into(),
                msg_type: MsgType::Chat,
                sender: "script".into(),
                content: Content::of(&"x".repeat(CONTENT_BYTES)),
                timestamp_us: 0,
                priority: Priority::Chat,
                channel: 1,
                delivery: Delivery::default(),
            };
            self.connection.send(self.now, message).expect("scripts stay within the bounds of the queue");
        }
    }

    /// The oldest unanswered transmission of each segment below `next` and in `sacks`.
    fn ack_segments(&mut self, next: u64, sacks: &[RangeInclusive<u64>]) -> Result<(), String> {
        let mut packets = BTreeSet::new();
        for segment in (1..next).chain(sacks.iter().cloned().flatten()) {
            let sent = usize::try_from(segment - 1).ok().and_then(|index| self.transmissions.get(index));
            let sent = sent.filter(|sent| !sent.is_empty()).ok_or(format!("segment {segment} never left"))?;
            if !sent.iter().any(|packet| self.acked.contains(packet)) {
                packets.insert(sent[0]);
            }
        }
        self.ack(packets);
        Ok(())
    }

    /// Acknowledges these packets and all before them that were ever acknowledged.
    fn ack(&mut self, packets: BTreeSet<u64>) {
        self.acked.extend(packets);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &packet in self.acked.iter().rev() {
            match ranges.last_mut() {
                Some((low, _)) if *low == packet + 1 => *low = packet,
                _ => ranges.push((packet, packet)),
            }
        }
        let content = serde_json::json!({ "ranges": ranges, "window": self.window_end, "delay_us": 0 });
        let frame = Frame {
            msg_id: "".into(),
            msg_type: MsgType::Ack,
            sender: "peer".into(),
            content: Content::of(&content),
            timestamp_us: 0,
            priority: Priority::Control,
            sequence_number: 0,
            packet: 0,
            channel: 0,
            fragment: None,
            order: Order::Ordered,
        };
        let mut body = Vec::new();
        frame.encode(&mut body);
        let packet = WirePacket::decode(&Bytes::from(body)).expect("an encoded frame decodes");
        self.connection.handle_packet(self.now, packet);
    }

    fn assert(&self, name: &str, relation: Relation, expected: &str) -> Result<(), String> {
        if name == "state" {
            let state = state_name(self.connection.metrics().state);
            return (state == expected).then_some(()).ok_or(format!("state is {state}"));
        }
        let value = self.value(name)?;
        let expected: f64 = expected.parse().map_err(|_| format!("\"{expected}\" is not a number"))?;
        let holds = match relation {
            Relation::Equal => (value - expected).abs() < NEAR,
            Relation::AtMost => value <= expected + NEAR,
            Relation::AtLeast => value >= expected - NEAR,
        };
        holds.then_some(()).ok_or(format!("{name} is {value:.2} at {}", seconds(self.now)))
    }

    /// Windows in segments, times in milliseconds, counters as they are.
    fn value(&self, name: &str) -> Result<f64, String> {
        let metrics = self.connection.metrics();
        let stats = self.connection.stats();
        let segments = |bytes: ByteCount| bytes.as_u64() as f64 / SEGMENT_BYTES as f64;
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        Ok(match name {
            "cwnd" => segments(metrics.cwnd),
            "ssthresh" => metrics.ssthresh.map_or(f64::INFINITY, segments),
            "in_flight" => segments(metrics.in_flight),
            "srtt" => metrics.srtt.map_or(f64::NAN, ms),
            "rto" => ms(metrics.rto),
            "timeouts" => stats.timeouts as f64,
            "probes" => stats.probes as f64,
            "retransmits" => stats.retransmits as f64,
            "lost" => stats.packets_lost as f64,
            "spurious" => stats.spurious as f64,
            "unacked" => self.connection.unacked_messages() as f64,
            _ => return Err(format!("nothing is called {name} here")),
        })
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::SlowStart => "slow-start",
        State::ConservativeSlowStart => "conservative-slow-start",
        State::CongestionAvoidance => "congestion-avoidance",
        State::FastRecovery => "recovery",
        State::Startup => "startup",
        State::Drain => "drain",
        State::ProbeBwDown | State::ProbeBwCruise | State::ProbeBwRefill | State::ProbeBwUp => "probe-bw",
        State::ProbeRtt => "probe-rtt",
    }
}

fn seconds(at: Timestamp) -> String {
    format!("{:.4} s", at.as_secs_f64())
}

/// A segment; large, so that the few bytes by which envelopes differ do not show in windows counted in segments. Ten of
/// them are less than what the peer's window is taken to be before its first ack.
const SEGMENT_BYTES: u64 = 6000;
/// Content that fills a segment but for the envelope, which takes at most so much.
const CONTENT_BYTES: usize = SEGMENT_BYTES as usize - 230;
/// What leaves may do so this much before the script's time: a millisecond, the granularity of timers.
const TOLERANCE: Duration = Duration::from_millis(1);
/// Segments and milliseconds are compared to the nearest.
const NEAR: f64 = 0.5;
/// More timers than any script has between two lines.
const MAX_TIMERS: u32 = 10_000;
