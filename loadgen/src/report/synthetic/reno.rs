//! What a bulk sender's connection would tell: the sawtooth of textbooks.

use rand::RngExt;
use units::Seed;

use crate::record::{Side, TraceEvent, TraceRow};

/// Slow start to 64 segments, then a sawtooth; every 400th packet is lost, and one loss ends in a timeout.
pub(super) fn reno() -> Vec<TraceRow> {
    const MSS: f64 = 1200.0;
    let (mut cwnd, mut ssthresh, mut packet, mut now) = (1.0_f64, 64.0_f64, 0_u64, 0_u64);
    let mut rng = Seed::root(1).fork("reno").rng();
    let mut rows = Vec::new();
    let mut losses = 0;
    while now < 60_000_000 {
        let window = cwnd.floor().max(1.0) as u64;
        for _ in 0..window {
            packet += 1;
            now += 100_000 / window;
            let srtt = 100_000 + rng.random_range(0..4_000);
            let row = |at_us, event, cwnd: f64, ssthresh: f64, rto| TraceRow {
                cell: 0,
                repeat: 0,
                client: 0,
                side: Side::Client,
                at_us,
                event,
                packet: Some(packet),
                cwnd_bytes: (cwnd * MSS) as u64,
                ssthresh_bytes: Some((ssthresh * MSS) as u64),
                in_flight_bytes: (cwnd.floor() * MSS) as u64,
                srtt_us: Some(srtt),
                rttvar_us: Some(2_000),
                rto_us: rto,
                min_rtt_us: Some(100_000),
                pacing_bps: None,
                delivery_bps: Some((cwnd * MSS * 80.0) as u64),
            };
            if packet.is_multiple_of(400) {
                losses += 1;
                rows.push(row(now, TraceEvent::Lost, cwnd, ssthresh, 1_000_000));
                ssthresh = (cwnd / 2.0).max(2.0);
                if losses == 9 {
                    cwnd = 1.0;
                    now += 1_000_000;
                    rows.push(row(now, TraceEvent::Timeout, cwnd, ssthresh, 2_000_000));
                } else {
                    cwnd = ssthresh;
                    rows.push(row(now, TraceEvent::FastRetransmit, cwnd, ssthresh, 1_000_000));
                }
                break;
            }
            cwnd += if cwnd < ssthresh { 1.0 } else { 1.0 / cwnd };
            rows.push(row(now, TraceEvent::Metrics, cwnd, ssthresh, 1_000_000));
        }
    }
    rows
}
