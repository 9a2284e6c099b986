//! One synthetic run: messages cross two lossy hops, and everything that a run file holds is counted on the way.

use std::collections::BTreeMap;

use rand::RngExt;
use units::{Rng, Seed};

use crate::distribution::Distribution;
use crate::records::{
    self, ClientRecord, Exemplar, Hop, Interval, Intervals, PhaseSpan, QuantileEstimate, RecoveryRecord,
    RunFile, Step, StepKind, WeatherSpan, WorkloadRecord, latency_bin,
};
use crate::result::{
    DirectionFacts, Health, LinkDirection, LinkFacts, Messages, Metrics, Throughput, Transport, Wire,
};

use super::shape::{Shape, summary};

pub(super) fn run(shape: &Shape, cell: u32, repeat: u32, arm: u32) -> RunFile {
    let mut rng = Seed::root(42).fork(&format!("{cell}/{repeat}/{arm}")).rng();
    // Runs differ by more than their messages do: a few percent, as on a real machine.
    let pace = 1.0 + 0.03 * normal(&mut rng);
    let mut world = World::new(shape, cell, repeat, arm, pace);
    world.talk(&mut rng);
    world.finish(&mut rng)
}

struct World<'a> {
    shape: &'a Shape,
    pace: f64,
    file: RunFile,
    hop_packets: u64,
    hop_losses: u64,
    completion: Vec<(Option<u64>, Option<u64>)>,
}

/// One message on its way to one recipient.
#[derive(Clone, Copy)]
struct Sent {
    message: u32,
    sender: u32,
    at: u64,
    up: u64,
}

impl<'a> World<'a> {
    fn new(shape: &'a Shape, cell: u32, repeat: u32, arm: u32, pace: f64) -> Self {
        let warm = shape.warmup_s * 1_000_000;
        let until = warm + shape.steady_s * 1_000_000;
        let phase = |name: &str, from_us, until_us, recorded| PhaseSpan {
            name: name.to_owned(),
            from_us,
            until_us,
            recorded,
        };
        let phases = vec![
            phase("warm-up", 0, warm, false),
            phase("steady", warm, until, true),
            phase("drain", until, until + DRAIN_US, false),
        ];
        let weather = shape.outages.iter().map(|&(from, to)| WeatherSpan {
            link: "lossy".to_owned(),
            from_us: (from * 1e6) as u64,
            until_us: (to * 1e6) as u64,
            what: "blackout".to_owned(),
        });
        let rows = (until + DRAIN_US).div_ceil(INTERVAL_US) as usize;
        let clients = (0..shape.clients.min(records::MOST_CLIENTS as u32)).map(|client| ClientRecord {
            client,
            group: "chat".to_owned(),
            srtt_us: Some((shape.delay_ms * 2_080.0) as u64),
            ..ClientRecord::default()
        });
        let file = RunFile {
            schema: records::SCHEMA,
            cell,
            repeat,
            arm,
            seed: 42 + u64::from(repeat),
            plan: "0123456789abcdef".to_owned(),
            phases,
            weather: weather.collect(),
            links: links(shape),
            intervals: Intervals { width_us: INTERVAL_US, rows: vec![Interval::default(); rows] },
            clients: clients.collect(),
            ..RunFile::default()
        };
        Self { shape, pace, file, hop_packets: 0, hop_losses: 0, completion: Vec::new() }
    }

    fn talk(&mut self, rng: &mut Rng) {
        let shape = self.shape;
        let gap = 1e6 / (shape.rate * f64::from(shape.clients));
        let until = (shape.warmup_s + shape.steady_s) * 1_000_000;
        let mut at = 0.0;
        for message in 0.. {
            at += -gap * (1.0 - rng.random::<f64>()).ln();
            if at > until as f64 || message >= MOST_MESSAGES {
                break;
            }
            let sender = rng.random_range(0..shape.clients);
            let up = self.hop(rng);
            self.message(rng, Sent { message, sender, at: at as u64, up });
        }
    }

    fn message(&mut self, rng: &mut Rng, sent: Sent) {
        let recorded = sent.at >= self.shape.warmup_s * 1_000_000;
        let row = (sent.at / INTERVAL_US) as usize;
        self.file.intervals.rows[row].intended += 1;
        self.file.intervals.rows[row].sent += 1;
        let (mut first, mut last) = (Some(u64::MAX), Some(0));
        let room = sent.sender / self.shape.room * self.shape.room;
        for recipient in
            (room..(room + self.shape.room).min(self.shape.clients)).filter(|&r| r != sent.sender)
        {
            let latency = self.delivery(rng, sent, recipient, recorded);
            first = first.zip(latency.or(Some(u64::MAX))).map(|(a, b)| a.min(b));
            last = last.zip(latency).map(|(a, b)| a.max(b));
        }
        if recorded {
            let lag = 20 + rng.random_range(0..60);
            self.file.all.ack_rtt.record(Some(sent.up + (self.shape.delay_ms * 1e3) as u64));
            self.completion.push((first, last));
            self.file.health.lag.record(Some(lag));
            self.file.metrics.messages.intended += 1;
        }
    }

    /// Microseconds from intended to delivered; `None` if it never was.
    fn delivery(&mut self, rng: &mut Rng, sent: Sent, recipient: u32, recorded: bool) -> Option<u64> {
        let path = 40 + sent.up + self.hop(rng);
        let base = self.shape.delay_ms * 2e3;
        let slow = base + (path as f64 - base).max(0.0) * self.shape.slowness * self.pace;
        let waits = self.outage_left(sent.at);
        let latency = (rng.random::<f64>() >= self.shape.given_up).then(|| slow as u64 + waits);
        let row = (sent.at / INTERVAL_US) as usize;
        let interval = &mut self.file.intervals.rows[row];
        interval.expected += 1;
        match latency {
            Some(us) => add_heat(&mut interval.heat, latency_bin(us)),
            None => interval.lost += 1,
        }
        if let Some(us) = latency {
            let rows = self.file.intervals.rows.len();
            let arrived =
                &mut self.file.intervals.rows[((sent.at + us) / INTERVAL_US).min(rows as u64 - 1) as usize];
            arrived.delivered += 1;
            arrived.delivered_bytes += MESSAGE_BYTES;
            arrived.down_bytes += 290;
            arrived.up_bytes += 40;
        }
        if recorded {
            self.file.all.delivery.record(latency);
            self.file.all.service.record(latency.map(|us| us.saturating_sub(40)));
            self.file.all.waiting.record(Some(1 + rng.random_range(0..20_000)));
            if let Some(client) = self.file.clients.get_mut(recipient as usize).filter(|_| latency.is_some())
            {
                client.delivered += 1;
                client.delivered_bytes += MESSAGE_BYTES;
            }
            self.remember(sent, recipient, latency);
        }
        latency
    }

    /// Keeps the slowest few, with what happened to them.
    fn remember(&mut self, sent: Sent, recipient: u32, latency: Option<u64>) {
        let slowness = |exemplar: &Exemplar| {
            exemplar.delivered_us.map_or(u64::MAX, |at| at.saturating_sub(exemplar.intended_us))
        };
        let exemplars = &mut self.file.exemplars;
        let here = latency.unwrap_or(u64::MAX);
        if exemplars.len() >= MOST_EXEMPLARS && exemplars.last().is_some_and(|last| slowness(last) >= here) {
            return;
        }
        let place = exemplars.partition_point(|other| slowness(other) >= here);
        let step = |after: u64, hop, what| Step {
            at_us: sent.at + after,
            hop,
            what,
            packet: Some(u64::from(sent.message) + 7),
            why: None,
            for_us: None,
        };
        let mut steps = vec![
            step(40, Hop::Up, StepKind::Sent),
            step(sent.up, Hop::Up, StepKind::Received),
            step(sent.up + 10, Hop::Down, StepKind::Sent),
        ];
        match latency {
            Some(us) => {
                let middle = sent.up + us.saturating_sub(sent.up) / 2;
                steps.push(step(middle, Hop::Down, StepKind::Timeout));
                steps.push(step(middle, Hop::Down, StepKind::Retransmitted));
                steps.push(step(us, Hop::Down, StepKind::Received));
                steps.push(step(us, Hop::Down, StepKind::Released));
            }
            None => steps.push(step(5_000_000, Hop::Down, StepKind::Lost)),
        }
        exemplars.insert(
            place,
            Exemplar {
                workload: "room-chat".to_owned(),
                message: sent.message,
                sender: sent.sender,
                recipient,
                size_bytes: MESSAGE_BYTES as u32,
                intended_us: sent.at,
                submitted_us: Some(sent.at + 40),
                acked_us: Some(sent.at + sent.up + 50_000),
                delivered_us: latency.map(|us| sent.at + us),
                rank: 0.0,
                steps,
            },
        );
        exemplars.truncate(MOST_EXEMPLARS);
    }

    /// Microseconds for one hop: its delay, and a doubling timeout for each loss.
    fn hop(&mut self, rng: &mut Rng) -> u64 {
        let shape = self.shape;
        let mut us = (shape.delay_ms * 1e3) as u64 + rng.random_range(0..3_000);
        let mut timeout = rto_us(shape);
        let mut p = shape.loss;
        self.hop_packets += 1;
        while p > 0.0 && rng.random::<f64>() < p {
            self.hop_packets += 1;
            self.hop_losses += 1;
            // Half of the losses are repaired sooner, by the acks of later messages.
            us += if rng.random::<f64>() < 0.5 { timeout } else { timeout * 7 / 10 };
            timeout = (timeout * 2).min(MOST_TIMEOUT_US);
            p = p.max(1.0 - 1.0 / shape.burst).min(0.95);
        }
        us
    }

    /// How long a message intended at `at` waits for the end of an outage.
    fn outage_left(&self, at: u64) -> u64 {
        let inside = self.file.weather.iter().find(|span| span.from_us <= at && at < span.until_us);
        inside.map_or(0, |span| span.until_us - at)
    }

    fn finish(mut self, rng: &mut Rng) -> RunFile {
        for &(first, last) in &self.completion {
            self.file.all.completion.record(last);
            if let Some((first, last)) = first.zip(last) {
                self.file.all.skew.record(Some((last - first.min(last)).max(1)));
            }
        }
        for client in 0..self.shape.clients {
            let slow = if client % 37 == 36 { 900_000 } else { 0 };
            self.file.connect.record(Some(rto_us(self.shape) + rng.random_range(0..90_000) + slow));
        }
        self.estimate();
        self.recover(rng);
        self.health(rng);
        self.measure();
        self.summarise_intervals();
        let quantiles = self.file.quantiles.clone();
        let workload = WorkloadRecord {
            name: "room-chat".to_owned(),
            messages: self.file.metrics.messages.clone(),
            latencies: self.file.all.clone(),
            quantiles,
        };
        let count = self.file.all.delivery.count().max(1) as f64;
        for exemplar in &mut self.file.exemplars {
            let latency = exemplar.delivered_us.map(|at| at - exemplar.intended_us);
            let faster = latency.map_or(count, |us| self.file.all.delivery.count_at_or_below(us) as f64);
            exemplar.rank = ((faster - 1.0) / count).max(0.0);
        }
        self.file.workloads = vec![workload];
        self.file
    }

    /// Intervals by ranks, widened for recipients that share their sender's way.
    fn estimate(&mut self) {
        let delivery = &self.file.all.delivery;
        let (n, fan_out) = (delivery.count() as f64, f64::from(self.shape.room.max(2) - 1));
        let design_effect = 1.0 + (fan_out - 1.0) * 0.5;
        let estimates = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999].map(|q: f64| {
            let spread = 1.96 * (q * (1.0 - q) * design_effect / n).sqrt();
            QuantileEstimate {
                q,
                value_us: delivery.quantile(q),
                low_us: delivery.quantile((q - spread).max(0.0)),
                high_us: if q + spread >= 1.0 { None } else { delivery.quantile(q + spread) },
                messages: self.completion.len() as u64,
                deliveries: delivery.count(),
                design_effect,
                is_firm: n >= 10.0 / (1.0 - q),
            }
        });
        self.file.quantiles = estimates.to_vec();
    }

    fn recover(&mut self, rng: &mut Rng) {
        for span in &self.file.weather {
            let mut times = Distribution::default();
            for _ in 0..self.shape.clients {
                let late = rng.random::<f64>() < 0.01 && self.shape.given_up > 0.0;
                let us = 60_000.0 * (1.0 + 9.0 * rng.random::<f64>().powi(3)) * self.pace;
                times.record((!late).then_some(us as u64));
            }
            self.file.recoveries.push(RecoveryRecord {
                link: span.link.clone(),
                from_us: span.from_us,
                until_us: span.until_us,
                times,
            });
        }
    }

    fn health(&mut self, rng: &mut Rng) {
        if self.shape.driver != "real" {
            self.file.health.lag = Distribution::default();
            return;
        }
        let busy = if self.shape.busy { 120.0 } else { 1.0 };
        for interval in &mut self.file.intervals.rows {
            let pause = 300.0 * busy * (0.3 + rng.random::<f64>().powi(6) * 12.0);
            interval.lag_p99_us = Some((90.0 * busy * (0.6 + rng.random::<f64>())) as u64);
            interval.hiccup_max_us = Some(pause as u64);
            interval.cpu = Some((0.25 + 0.1 * rng.random::<f64>()) * busy.min(3.5));
            interval.harness_drops = if self.shape.busy { rng.random_range(0..4) } else { 0 };
            self.file.health.hiccups.record(Some(pause as u64));
        }
        if self.shape.busy {
            self.file.invalid.push("schedule lag p99 is 17 ms, above 5 ms".to_owned());
        }
        self.file.health.cpu_s = BTreeMap::from([("pacer".to_owned(), 1.2), ("workers".to_owned(), 5.4)]);
    }

    fn measure(&mut self) {
        let shape = self.shape;
        let (expected, lost) = (self.file.all.delivery.count(), self.file.all.delivery.lost());
        let seconds = shape.steady_s as f64;
        let receivers = f64::from(shape.clients);
        let bytes = shape
            .goodput
            .map_or((expected - lost) as f64 * MESSAGE_BYTES as f64 / seconds, |each| each * receivers);
        let goodput = bytes / self.pace;
        let factor = goodput * seconds / ((expected - lost).max(1) as f64 * MESSAGE_BYTES as f64);
        for client in &mut self.file.clients {
            client.delivered_bytes = (client.delivered_bytes as f64 * factor) as u64;
        }
        let direction = LinkDirection {
            offered: self.hop_packets / 2,
            offered_bytes: self.hop_packets * 130,
            delivered: (self.hop_packets - self.hop_losses) / 2,
            dropped_loss: self.hop_losses / 2,
            delay_p50_us: Some((shape.delay_ms * 1e3) as u64),
            delay_p99_us: Some((shape.delay_ms * 1e3 + 2_900.0) as u64),
            ..LinkDirection::default()
        };
        let messages = self.completion.len() as u64;
        let wire = |bytes: u64| (bytes, Some(bytes as f64 / messages.max(1) as f64));
        let (up_bytes, up_bytes_per_message) = wire(self.hop_packets * 60);
        let (down_bytes, down_bytes_per_message) = wire(self.hop_packets * 240);
        let lag = &self.file.health.lag;
        self.file.metrics = Metrics {
            messages: Messages {
                intended: messages,
                sent: messages,
                acked: messages,
                expected_deliveries: expected,
                delivered: expected - lost,
                lost,
                ..Messages::default()
            },
            latency: crate::result::Latencies {
                delivery: summary(&self.file.all.delivery),
                service: summary(&self.file.all.service),
                ack_rtt: summary(&self.file.all.ack_rtt),
                connect: summary(&self.file.connect),
            },
            throughput: Throughput {
                sent_per_s: messages as f64 / seconds,
                delivered_per_s: goodput / MESSAGE_BYTES as f64,
                goodput_bytes_per_s: goodput,
            },
            transport: Transport {
                segments_sent: self.hop_packets,
                retransmits: self.hop_losses,
                fast_retransmits: self.hop_losses / 2,
                timeouts: self.hop_losses / 5,
                srtt_us: Some((shape.delay_ms * 2_080.0) as u64),
                rto_us: Some(rto_us(shape)),
                cwnd_max_bytes: 40_000,
                ..Transport::default()
            },
            link: crate::result::Links { up: direction.clone(), down: direction, ..Default::default() },
            wire: Wire {
                messages,
                up_packets: self.hop_packets / 2,
                down_packets: self.hop_packets / 2,
                up_bytes,
                down_bytes,
                up_bytes_per_message,
                down_bytes_per_message,
            },
            health: Health {
                schedule_lag_p50_us: lag.quantile(0.5),
                schedule_lag_p99_us: lag.quantile(0.99),
                ..Health::default()
            },
            ..Metrics::default()
        };
    }

    /// Percentiles of an interval, from its own heat.
    fn summarise_intervals(&mut self) {
        for interval in &mut self.file.intervals.rows {
            let arrived: u64 = interval.heat.iter().map(|&(_, count)| u64::from(count)).sum();
            let at = |q: f64| {
                let rank = (q * interval.expected as f64).ceil().max(1.0) as u64;
                if rank > arrived {
                    return None;
                }
                let mut seen = 0;
                let bin = interval.heat.iter().find(|&&(_, count)| {
                    seen += u64::from(count);
                    seen >= rank
                });
                bin.map(|&(bin, _)| records::bin_range(bin).1 as u64)
            };
            (interval.p50_us, interval.p99_us, interval.max_us) = (at(0.5), at(0.99), at(1.0));
            interval.connected = u64::from(self.shape.clients);
            interval.retransmits = (interval.sent as f64 * self.shape.loss * 4.0) as u64;
        }
    }
}

fn add_heat(heat: &mut Vec<(u16, u32)>, bin: u16) {
    match heat.binary_search_by_key(&bin, |&(bin, _)| bin) {
        Ok(at) => heat[at].1 += 1,
        Err(at) => heat.insert(at, (bin, 1)),
    }
}

fn rto_us(shape: &Shape) -> u64 {
    (shape.delay_ms * 2e3 + 110_000.0) as u64
}

fn links(shape: &Shape) -> Vec<LinkFacts> {
    let direction = DirectionFacts {
        loss: shape.loss,
        delay_us: (shape.delay_ms * 1e3) as u64,
        jitter_us: 3_000,
        rate_bps: shape.rate_bps,
        spec: format!("loss={}% delay={}ms", shape.loss * 100.0, shape.delay_ms),
    };
    vec![LinkFacts { name: "lossy".to_owned(), up: direction.clone(), down: direction }]
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

const INTERVAL_US: u64 = 1_000_000;
const DRAIN_US: u64 = 5_000_000;
const MESSAGE_BYTES: u64 = 200;
const MOST_EXEMPLARS: usize = 5;
/// RFC 6298 lets a timeout be bounded by a minute or more; here a burst shall not outlast the run.
const MOST_TIMEOUT_US: u64 = 4_000_000;
/// A shape with many clients is cut short rather than slow.
const MOST_MESSAGES: u32 = 20_000;
