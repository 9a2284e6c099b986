//! Windows round by round, against what others have published.

use std::time::Duration;

use units::ByteCount;

use super::flow::{Fate, Flow};
use crate::config::{CongestionControl, Profile, TransportConfig};

pub(super) fn cubic() -> TransportConfig {
    TransportConfig {
        mss: ByteCount(1200),
        congestion: CongestionControl::Cubic,
        // The traces are of plain slow start.
        hystart: false,
        ..TransportConfig::new(Profile::Modern)
    }
}

/// Packets of each round; a round that is to lose loses its first packet.
fn rounds(flow: &mut Flow, count: usize, mut loses: impl FnMut(u64) -> bool) -> Vec<u64> {
    (0..count)
        .map(|_| {
            let window = flow.window();
            let mut first = true;
            flow.round(1, &mut |_| {
                let lose = std::mem::take(&mut first) && loses(window);
                if lose { Fate::IsLost } else { Fate::Arrives }
            })
        })
        .collect()
}

/// Slow start to 2,560 segments, a loss, and then the curve; a second loss at `second` segments.
fn after_a_loss_at_2560(second: u64) -> Vec<u64> {
    let mut flow = Flow::new(&cubic(), Duration::from_millis(200));
    let losses = std::cell::Cell::new(0);
    rounds(&mut flow, 140, |window| {
        let loses = (losses.get() == 0 && window >= 2560) || (losses.get() == 1 && window >= second);
        losses.set(losses.get() + u32::from(loses));
        loses
    })
}

/// Asserts windows by round, each within one segment: others round at other places.
fn assert_rounds(got: &[u64], expected: &[(usize, u64)]) {
    for &(round, window) in expected {
        assert!(
            got[round].abs_diff(window) <= 1,
            "round {round}: {} instead of {window} in {got:?}",
            got[round]
        );
    }
}

#[test]
fn cubic_after_a_loss_at_2560_is_that_of_s2n() {
    // The snapshots of s2n-quic's simulation "loss at 3MB": RTT 200 ms, MSS 1,200.
    let got = after_a_loss_at_2560(u64::MAX);
    assert_eq!(got[..9], [10, 20, 40, 80, 160, 320, 640, 1280, 2560]);
    let curve = [1792, 1815, 1845, 1878, 1911, 1943, 1975, 2005];
    for (round, window) in (9..).zip(curve) {
        assert_rounds(&got, &[(round, window)]);
    }
    assert_rounds(&got, &[(40, 2457), (64, 2558), (76, 2560), (90, 2579), (110, 2739), (134, 3333)]);
}

#[test]
fn cubic_after_two_losses_converges_as_s2n_does() {
    // "Loss at 3MB and 2.75MB": the second plateau is at 0.85 * 2291.
    let got = after_a_loss_at_2560(2291);
    assert_rounds(&got, &[(28, 2291), (29, 1604), (71, 1947), (78, 1947), (119, 2183)]);
}

#[test]
fn cubic_does_not_grow_beyond_what_the_application_uses() {
    // "App limited 1MB": a loss at 640 segments, and never more than 833 to send. s2n stops at 888 segments; we allow one
    // segment more than is used before the round that is acknowledged.
    let mut flow = Flow::new(&cubic(), Duration::from_millis(200));
    flow.demand = 833;
    let mut once = true;
    let got = rounds(&mut flow, 120, |window| window == 640 && std::mem::take(&mut once));
    assert_eq!(got[6..8], [640, 448]);
    assert_eq!(got[119], 833);
    assert!((834..=888).contains(&flow.window()), "{}", flow.window());
    let before = flow.window();
    rounds(&mut flow, 500, |_| false);
    assert_eq!(flow.window(), before);
}

#[test]
fn cubic_from_the_smallest_window_adds_a_segment_a_round() {
    // s2n gives 2 2 2 2 2 3 4 4 5 5: RFC 8312's estimate, 9/17 segment a round for ever. RFC 9438 has a whole segment from
    // cwnd_prior on, which is 2 here. The first round is the loss, the second the recovery.
    let config = TransportConfig { initial_cwnd: 2, min_cwnd_thin: 2, ..cubic() };
    let mut flow = Flow::new(&config, Duration::from_millis(200));
    let mut lose = true;
    let got = rounds(&mut flow, 2, |_| std::mem::take(&mut lose));
    assert_eq!(got, [2, 2]);
    let got = rounds(&mut flow, 6, |_| false);
    assert_eq!(got, [2, 3, 4, 5, 6, 7]);
}

#[test]
fn slow_start_doubles_whatever_an_ack_covers() {
    for batch in [1, 4] {
        let mut flow = Flow::new(&cubic(), Duration::from_millis(100));
        let windows: Vec<u64> = (0..4)
            .map(|_| {
                flow.round(batch, &mut |_| Fate::Arrives);
                flow.window()
            })
            .collect();
        assert_eq!(windows, [20, 40, 80, 160], "{batch} packets an ack");
    }
}

#[test]
fn slow_start_grows_to_twice_what_was_in_flight() {
    // packetdrill's app-limited scripts: 10 of 10 give 20, 9 of 10 give 18; 5 of 10 tell nothing.
    for (used, window) in [(10, 20), (9, 18), (5, 10)] {
        let mut flow = Flow::new(&cubic(), Duration::from_millis(100));
        flow.demand = used;
        flow.round(1, &mut |_| Fate::Arrives);
        assert_eq!(flow.window(), window, "{used} in flight");
    }
}

#[test]
fn an_idle_hour_earns_cubic_nothing() {
    // packetdrill's idle-restart script: 48 segments after HyStart, a pause, then 2 segments acknowledged every 100 ms give
    // 48, 49, 52, 58 after 10, 20, 30, 40 acks. Linux adds the smallest RTT, 100 ms, where RFC 9438 has the smoothed one, so
    // the flow is told 100 ms.
    for pause in [4, 3600] {
        let config = TransportConfig { initial_cwnd: 48, initial_ssthresh: Some(48), ..cubic() };
        let mut flow = Flow::new(&config, Duration::from_millis(100));
        // The pause is shorter than what forgets an unused window.
        let pause = pause.min(290);
        flow.round(1, &mut |_| Fate::Arrives);
        let begin = flow.window();
        flow.now += Duration::from_secs(pause);
        let mut windows = vec![];
        for _ in 0..4 {
            for _ in 0..10 {
                flow.trickle(2);
            }
            windows.push(flow.window());
        }
        assert!((48..=49).contains(&begin), "{begin}");
        let expected = [48, 49, 52, 58];
        let close = windows.iter().zip(expected).all(|(got, expected)| got.abs_diff(expected) <= 2);
        assert!(close, "{windows:?} after {pause} s");
    }
}
