//! Whatever happens, in whatever order: no panic, no overflow, no window below its floor or beyond reason.

use std::time::Duration;

use proptest::prelude::*;
use units::ByteCount;

use super::events::{Bench, MSS};
use crate::config::{CongestionControl, Profile, TransportConfig};

#[derive(Clone, Debug)]
enum Step {
    Send(u64),
    /// So many packets arrive; every other one of the first so many is lost; so many were marked.
    Settle {
        acked: u64,
        lost: u64,
        marks: u64,
    },
    Spurious,
    Timeout {
        repeated: bool,
    },
    Persistent,
    Mss(u64),
    NewPath,
    Idle,
    Wait(u64),
    Rtt(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u64..64).prop_map(Step::Send),
        8 => (0_u64..32, 0_u64..8, 0_u64..2)
            .prop_map(|(acked, lost, marks)| Step::Settle { acked, lost, marks }),
        1 => Just(Step::Spurious),
        1 => any::<bool>().prop_map(|repeated| Step::Timeout { repeated }),
        1 => Just(Step::Persistent),
        1 => prop_oneof![Just(1_u64), 100_u64..9000, Just(65_535)].prop_map(Step::Mss),
        1 => Just(Step::NewPath),
        1 => Just(Step::Idle),
        3 => prop_oneof![0_u64..200_000_000, Just(400_000_000_000), Just(u64::MAX / 4)].prop_map(Step::Wait),
        1 => prop_oneof![0_u64..1_000_000_000, Just(100_000_000_000)].prop_map(Step::Rtt),
    ]
}

fn config() -> impl Strategy<Value = TransportConfig> {
    let controller = prop_oneof![Just(CongestionControl::Reno), Just(CongestionControl::Cubic)];
    (controller, any::<bool>(), any::<[bool; 5]>(), 1_u64..100).prop_map(
        |(congestion, classic, flags, initial)| {
            let profile = if classic { Profile::Classic } else { Profile::Modern };
            TransportConfig {
                congestion,
                mss: ByteCount(MSS),
                initial_cwnd: initial,
                hystart: flags[0],
                prr: flags[1],
                pacing: flags[2],
                cwnd_validation: flags[3],
                abe: flags[4],
                ..TransportConfig::new(profile)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_window_is_a_window(config in config(), steps in prop::collection::vec(step(), 1..200)) {
        let mut bench = Bench::new(&config);
        let (mut oldest, mut mss) = (1, MSS);
        for step in steps {
            let before = bench.controller.cwnd().as_u64();
            match step {
                Step::Send(count) => bench.send(count),
                Step::Settle { acked, lost, marks } => {
                    let numbers: Vec<u64> = (oldest..bench.next).take((acked + lost) as usize).collect();
                    oldest += numbers.len() as u64;
                    let is_lost = |number: &u64| (number - numbers[0]).is_multiple_of(2) && number - numbers[0] < 2 * lost;
                    let (lost, acked): (Vec<u64>, Vec<u64>) = numbers.iter().copied().partition(is_lost);
                    bench.batch(&acked, &lost, marks);
                }
                Step::Spurious => bench.controller.on_spurious(bench.now),
                Step::Timeout { repeated } => {
                    bench.timeout(repeated);
                    oldest = bench.next;
                    let loss_window = config.loss_window.max(config.min_cwnd_thin) * mss;
                    prop_assert!(bench.controller.cwnd().as_u64() <= loss_window);
                }
                Step::Persistent => {
                    bench.controller.on_persistent_congestion(bench.now);
                    prop_assert!(bench.controller.cwnd().as_u64() <= config.min_cwnd_thin.max(2) * mss);
                }
                Step::Mss(size) => {
                    mss = size;
                    bench.controller.on_mss(ByteCount(size));
                }
                Step::NewPath => {
                    bench.controller.on_new_path();
                    prop_assert_eq!(bench.controller.cwnd().as_u64(), config.initial_cwnd * mss);
                }
                Step::Idle => {
                    bench.controller.on_idle();
                    prop_assert!(bench.controller.cwnd().as_u64() <= before);
                }
                Step::Wait(nanos) => bench.now += Duration::from_nanos(nanos),
                Step::Rtt(nanos) => bench.rtt = Duration::from_nanos(nanos),
            }
            let cwnd = bench.controller.cwnd().as_u64();
            prop_assert!(cwnd >= config.loss_window.min(config.min_cwnd).min(config.initial_cwnd) * mss, "{cwnd} at {mss}");
            prop_assert!(cwnd <= 1 << 41, "{cwnd}");
            if let Some(ssthresh) = bench.controller.ssthresh() {
                prop_assert!(ssthresh.as_u64() >= 2 * mss, "{ssthresh} at {mss}");
            }
            let rate = bench.controller.pacing_rate(Some(bench.rtt));
            prop_assert_eq!(rate.is_some(), config.pacing && !bench.rtt.is_zero());
        }
    }
}
