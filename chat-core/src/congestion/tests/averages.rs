//! What theory predicts on average: the response functions of RFC 9438 and the throughput formula of Padhye et al.
//! ("Modeling TCP Throughput", SIGCOMM 1998).

use std::time::Duration;

use rand::RngExt;
use units::{ByteCount, Seed};

use super::flow::{Fate, Flow};
use super::golden::cubic;
use crate::config::{CongestionControl, Profile, TransportConfig};

/// Average window in segments, weighted by time, over `cycles` losses after as many: one in every `every` packets.
fn average_window(config: &TransportConfig, rtt: Duration, every: u64, cycles: u64) -> f64 {
    let mut flow = Flow::new(config, rtt);
    let mut lose = |number: u64| if number.is_multiple_of(every) { Fate::IsLost } else { Fate::Arrives };
    let (mut weighted, mut total) = (0.0, 0.0);
    while flow.sent() < 2 * cycles * every {
        let (before, window) = (flow.now, flow.controller.cwnd().as_u64());
        flow.step(&mut lose);
        if flow.sent() > cycles * every {
            let span = flow.now.since(before).as_secs_f64();
            weighted += window as f64 / config.mss.as_u64() as f64 * span;
            total += span;
        }
    }
    weighted / total
}

#[test]
fn cubic_keeps_the_average_window_of_its_rfc() {
    // RFC 9438 tables 1 and 2 (sections 5.1 and 5.2), C = 0.4: RTT in ms, packets for each loss, window, cycles.
    let cells = [
        (100, 100, 12.0, 100),
        (100, 1000, 38.0, 100),
        (100, 10_000, 187.0, 60),
        (100, 100_000, 1054.0, 45),
        (10, 100, 12.0, 100),
        (10, 1000, 38.0, 100),
        (10, 10_000, 120.0, 10),
        (10, 100_000, 379.0, 5),
    ];
    for (rtt_ms, every, expected, cycles) in cells {
        // The curve is flat around its origin, so a window that is off comes nearer only by the cube of the distance in
        // each cycle, and always from above: slow start ends where the table says, and some fifty cycles do the rest.
        // Fast convergence is off, as the flow is alone.
        let config =
            TransportConfig { fast_convergence: false, initial_ssthresh: Some(expected as u64), ..cubic() };
        let got = average_window(&config, Duration::from_millis(rtt_ms), every, cycles);
        println!("RTT {rtt_ms} ms, p = 1/{every}: {got:.1}, table {expected}");
        let ratio = got / expected;
        assert!((0.9..=1.1).contains(&ratio), "RTT {rtt_ms} ms, p = 1/{every}: {got:.1}, not {expected}");
    }
}

/// Packets a second by the formula, one ack for each packet, a timeout of two RTTs.
fn padhye(rtt: f64, p: f64) -> f64 {
    let timeouts = 2.0 * rtt * (3.0 * (3.0 * p / 8.0).sqrt()).min(1.0) * p * (1.0 + 32.0 * p * p);
    1.0 / (rtt * (2.0 * p / 3.0).sqrt() + timeouts)
}

/// What Reno delivers over `p` of random loss, as a part of what the formula says.
fn reno_against_the_formula(rtt_ms: u64, p: f64, prr: bool) -> f64 {
    let config = TransportConfig {
        mss: ByteCount(1200),
        congestion: CongestionControl::Reno,
        hystart: false,
        prr,
        ..TransportConfig::new(Profile::Modern)
    };
    let rtt = Duration::from_millis(rtt_ms);
    let mut flow = Flow::new(&config, rtt);
    let mut rng = Seed::root(7).fork(&format!("reno/{rtt_ms}/{p}")).rng();
    let mut lose = |_| if rng.random::<f64>() < p { Fate::IsLost } else { Fate::Arrives };
    // 3,000 losses: the mean of their distances is known to 2 %, and its square root to 1 %.
    while (flow.sent() as f64) < 3000.0 / p {
        flow.step(&mut lose);
    }
    flow.delivered as f64 / flow.now.as_secs_f64() / padhye(rtt.as_secs_f64(), p)
}

#[test]
fn reno_sends_what_the_formula_predicts() {
    for rtt_ms in [10, 50, 100] {
        // At 10 % the formula has windows of one segment and a timeout for every second loss; a sender that finds losses by
        // time, in a window of at least two, has neither.
        for (p, limit) in [(0.001, 1.1), (0.01, 1.1), (0.02, 1.1), (0.05, 1.1), (0.1, 1.35)] {
            let plain = reno_against_the_formula(rtt_ms, p, false);
            let with_prr = reno_against_the_formula(rtt_ms, p, true);
            println!("RTT {rtt_ms} ms, p = {p}: {plain:.3} of the formula, {with_prr:.3} with PRR");
            assert!((0.9..=limit).contains(&plain), "RTT {rtt_ms} ms, p = {p}: {plain:.3} of the formula");
            // The formula knows no PRR: it does not fall silent for half of each recovery, which therefore ends sooner.
            let gain = with_prr / plain;
            assert!((0.97..=1.12).contains(&gain), "RTT {rtt_ms} ms, p = {p}: PRR makes {gain:.3} of it");
        }
    }
}
