//! Random operations, and the same seed twice.

use std::time::Duration;

use proptest::prelude::*;
use units::{Bitrate, ByteCount, Timestamp};

use super::link::{Link, MSS, Path, config};
use crate::config::TransportConfig;
use crate::congestion::bbr::Bbr;
use crate::congestion::{
    AckBatch, AckedPacket, Controller, Delivery, LostPacket, RateSample, RttView, SentPacket, Timeout,
};

/// One call of the interface, its numbers as wild as the types allow a peer or a path to make them.
#[derive(Clone, Debug)]
enum Operation {
    Sent {
        in_flight: u64,
        app_limited: bool,
    },
    Acks {
        wait_us: u64,
        acked: usize,
        lost: usize,
        marks: u64,
        rate: Option<u64>,
        delivered: u64,
        rtt_us: u64,
    },
    Timeout {
        repeated: bool,
    },
    Persistent,
    Spurious,
    NewPath,
    Mss(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let rate = prop_oneof![
        3 => (1_000_u64..1_000_000_000).prop_map(Some),
        1 => prop_oneof![Just(None), Just(Some(1)), Just(Some(u64::MAX))],
    ];
    let acks = (0_u64..200_000, 0_usize..20, 0_usize..20, 0_u64..3, rate, 0_u64..1_000_000, 0_u64..2_000_000)
        .prop_map(|(wait_us, acked, lost, marks, rate, delivered, rtt_us)| Operation::Acks {
            wait_us,
            acked,
            lost,
            marks,
            rate,
            delivered,
            rtt_us,
        });
    prop_oneof![
        12 => acks,
        6 => (0_u64..1_000_000, any::<bool>())
            .prop_map(|(in_flight, app_limited)| Operation::Sent { in_flight, app_limited }),
        1 => any::<bool>().prop_map(|repeated| Operation::Timeout { repeated }),
        1 => Just(Operation::Persistent),
        1 => Just(Operation::Spurious),
        1 => Just(Operation::NewPath),
        1 => (500_u64..9000).prop_map(Operation::Mss),
    ]
}

/// Feeds operations to a controller, keeping the few counters that must only grow.
struct Driver {
    bbr: Bbr,
    now: Timestamp,
    number: u64,
    delivered: u64,
    lost: u64,
    /// A timeout happened and no ack came since.
    after_timeout: bool,
}

impl Driver {
    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Sent { in_flight, app_limited } => {
                let (size, prior_in_flight) = (ByteCount(MSS), ByteCount(in_flight));
                let (at, number) = (self.now, self.number);
                self.bbr.on_sent(&SentPacket { at, number, size, prior_in_flight, app_limited });
                self.number += 1;
            }
            Operation::Acks { .. } => self.acks(operation),
            Operation::Timeout { repeated } => {
                let (next_packet, flight_size) = (self.number, ByteCount(10 * MSS));
                self.bbr.on_timeout(&Timeout { now: self.now, next_packet, flight_size, repeated });
                self.after_timeout = true;
            }
            Operation::Persistent => {
                self.bbr.on_persistent_congestion(self.now);
                self.after_timeout = false;
            }
            Operation::Spurious => self.bbr.on_spurious(self.now),
            Operation::NewPath => {
                self.bbr.on_new_path();
                self.after_timeout = false;
            }
            Operation::Mss(mss) => {
                self.bbr.on_mss(ByteCount(mss));
                self.after_timeout = false;
            }
        }
    }

    fn acks(&mut self, operation: &Operation) {
        let &Operation::Acks { wait_us, acked, lost, marks, rate, delivered, rtt_us } = operation else {
            return;
        };
        self.now += Duration::from_micros(wait_us);
        let sent_at = self.now - Duration::from_micros(rtt_us);
        let delivery = Delivery {
            delivered: self.delivered.saturating_sub(delivered),
            tx_in_flight: delivered,
            lost: self.lost.saturating_sub(delivered / 10),
            ..Delivery::default()
        };
        let first = self.number.saturating_sub((acked + lost) as u64);
        let size = ByteCount(MSS);
        let numbers = first..first + (acked + lost) as u64;
        let (mut gone, mut arrived) = (Vec::new(), Vec::new());
        for (i, number) in numbers.enumerate() {
            if i < lost {
                gone.push(LostPacket { number, size, sent_at, delivery });
            } else {
                arrived.push(AckedPacket { number, size, sent_at, delivery });
            }
        }
        self.delivered += acked as u64 * MSS;
        self.lost += lost as u64 * MSS;
        let sample = RateSample {
            delivery_rate: rate.and_then(Bitrate::from_bits_per_second),
            delivered,
            interval: Duration::from_micros(rtt_us),
            app_limited: delivered % 3 == 0,
            prior_delivered: delivery.delivered,
            total_delivered: self.delivered,
            total_lost: self.lost,
            newly_acked: acked as u64 * MSS,
            newly_lost: lost as u64 * MSS,
            tx_in_flight: delivered,
            lost: delivered / 10,
        };
        let rtt = Some(Duration::from_micros(rtt_us));
        self.bbr.on_acks(&AckBatch {
            now: self.now,
            acked: &arrived,
            lost: &gone,
            ecn_ce: marks,
            prior_in_flight: ByteCount(delivered),
            in_flight: ByteCount(delivered / 2),
            next_packet: self.number,
            rtt: RttView { latest: rtt, smoothed: rtt, min: rtt },
            rate: (acked + lost > 0).then_some(sample),
        });
        self.after_timeout &= acked == 0;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Nothing panics or overflows; the window never leaves its bounds, and the rate never stops.
    #[test]
    fn the_window_never_falls_below_four_segments(
        seed: u64,
        operations in prop::collection::vec(operation(), 1..300),
    ) {
        let bbr = Bbr::new(&TransportConfig { seed, ..config() });
        let (delivered, lost) = (0, 0);
        let mut driver =
            Driver { bbr, now: Timestamp::from_secs(1), number: 100, delivered, lost, after_timeout: false };
        for operation in &operations {
            driver.apply(operation);
            let floor = if driver.after_timeout { 1 } else { 4 };
            let bbr = &driver.bbr;
            prop_assert!(bbr.cwnd >= floor * bbr.mss, "{} after {operation:?}", bbr.cwnd);
            prop_assert!(bbr.pacing_rate(None).is_some_and(|rate| rate.bits_per_second() >= 8_000));
            prop_assert!(bbr.inflight_longterm > 0 && bbr.bw_shortterm > 0);
        }
    }
}

/// A trace of everything that a connection obeys, once per millisecond of a lossy path.
fn trace(seed: u64) -> Vec<(u64, Option<Bitrate>, u64)> {
    let mut link = Link::new(Path { loss: 20, ..Path::new(20, 30, 800) }, seed);
    (0..8_000)
        .map(|_| {
            link.run_for(Duration::from_millis(1));
            (link.bbr().cwnd().as_u64(), link.bbr().pacing_rate(None), link.flows[0].delivered)
        })
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
