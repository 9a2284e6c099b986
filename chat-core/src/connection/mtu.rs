//! How long a datagram the path carries: a search that costs a probe now and then, and no message.
//!
//! Packetization-layer path MTU discovery for datagrams (RFC 8899, and RFC 9000 section 14.3). A probe is a numbered
//! packet, padded to the length in question; when it is acknowledged, the path carries that length. Sizes are bytes of
//! UDP payload. The search asks for the largest length first, which most paths carry, then halves the interval
//! between what passed and what did not until less than [`GAIN_MIN`] is to be gained. Lost probes say nothing of
//! congestion (RFC 8899 section 3), and ICMP is not listened to, because anybody can send it.
//!
//! A path that changes may carry less: when several packets longer than the base get lost in a row, and none as long that
//! was sent after them is acknowledged, they vanish in a black hole, and the search begins again from the base (section
//! 4.3).
//!
//! The connection's part is four calls: [`poll_probe`](PathMtu::poll_probe) when a packet may leave,
//! [`on_probe_sent`](PathMtu::on_probe_sent), and [`on_acked`](PathMtu::on_acked) or [`on_lost`](PathMtu::on_lost) for
//! every packet; [`current`](PathMtu::current) is the limit for all others.

use std::time::Duration;

use units::Timestamp;

/// The path MTU of one path, as far as it is known.
#[derive(Clone, Debug)]
pub struct PathMtu {
    base: usize,
    max: usize,
    /// Proved.
    current: usize,
    /// Smallest length that is known not to pass, or one above the largest that is asked for.
    too_long: usize,
    phase: Phase,
    probe: Option<Probe>,
    /// Probes of the present length that got lost.
    failures: u32,
    /// Packets longer than the base that got lost since one as long as the shortest of them was acknowledged.
    vanished: u32,
    shortest_vanished: usize,
    /// Number and length of the last ones that were acknowledged.
    arrived: [(u64, usize); REMEMBERED],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Searching,
    /// Nothing to be gained before this; then the path may have become better.
    Done {
        again_at: Timestamp,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    packet: u64,
    size: usize,
}

/// What a lost packet means to the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It was a probe: no sign of congestion, nothing to send again.
    Probe,
    /// A packet like any other.
    Packet,
    /// The last of several that were too long by now. [`PathMtu::current`] is the base again; what is queued for longer
    /// datagrams has to be cut anew.
    BlackHole,
}

impl PathMtu {
    /// A path that carries `base` bytes, searched up to `max`. Where `max` is not above `base` nothing is ever probed.
    #[must_use]
    pub fn new(base: usize, max: usize) -> Self {
        let phase = Phase::Searching;
        Self {
            base,
            max,
            current: base,
            too_long: max + 1,
            phase,
            probe: None,
            failures: 0,
            vanished: 0,
            shortest_vanished: usize::MAX,
            arrived: [(0, 0); REMEMBERED],
        }
    }

    /// Longest datagram that the path is known to carry.
    #[must_use]
    pub fn current(&self) -> usize {
        self.current
    }

    /// Whether packet `packet` is the probe under way.
    #[must_use]
    pub fn is_probe(&self, packet: u64) -> bool {
        self.probe.is_some_and(|probe| probe.packet == packet)
    }

    /// How long a probe should leave now, if one should. The connection asks when a packet may leave; a probe needs no
    /// room in the congestion window (it is rare), but a path that has answered at least once.
    #[must_use]
    pub fn poll_probe(&mut self, now: Timestamp) -> Option<usize> {
        if let Phase::Done { again_at } = self.phase
            && again_at <= now
        {
            self.too_long = self.max + 1;
            self.phase = Phase::Searching;
        }
        let is_searching = self.phase == Phase::Searching && self.probe.is_none();
        is_searching.then(|| self.next_size()).flatten()
    }

    /// A probe left as packet `packet`.
    pub fn on_probe_sent(&mut self, packet: u64, size: usize) {
        self.probe = Some(Probe { packet, size });
    }

    /// Packet `packet`, a datagram of `size` bytes, was acknowledged. Returns whether longer datagrams may be sent now.
    pub fn on_acked(&mut self, now: Timestamp, packet: u64, size: usize) -> bool {
        if size > self.base {
            self.arrived.rotate_right(1);
            self.arrived[0] = (packet, size);
        }
        if size >= self.shortest_vanished {
            self.vanished = 0;
            self.shortest_vanished = usize::MAX;
        }
        let Some(probe) = self.probe.filter(|probe| probe.packet == packet) else {
            return false;
        };
        self.probe = None;
        self.failures = 0;
        let is_gain = probe.size > self.current;
        self.current = self.current.max(probe.size);
        self.settle(now);
        is_gain
    }

    /// Packet `packet`, a datagram of `size` bytes, was declared lost.
    pub fn on_lost(&mut self, now: Timestamp, packet: u64, size: usize) -> Lost {
        if self.is_probe(packet) {
            self.probe = None;
            self.failures += 1;
            // RFC 8899 section 5.1.2: a length fails when MAX_PROBES were lost, because any packet may get lost.
            if self.failures >= PROBES_MAX {
                self.failures = 0;
                self.too_long = self.too_long.min(size);
                self.settle(now);
            }
            return Lost::Probe;
        }
        // A queue that overflows drops a run of packets too, but later ones of the same length get through.
        let is_outlived = self.arrived.iter().any(|&(newer, length)| newer > packet && length >= size);
        if size <= self.base || is_outlived {
            return Lost::Packet;
        }
        self.vanished += 1;
        self.shortest_vanished = self.shortest_vanished.min(size);
        if self.vanished < BLACK_HOLE {
            return Lost::Packet;
        }
        self.on_new_path();
        // Not at once: the path is in trouble.
        self.phase = Phase::Done { again_at: now + BLACK_HOLE_PAUSE };
        Lost::BlackHole
    }

    /// Nothing is known any more: the peer has moved, or the carrier is another.
    pub fn on_new_path(&mut self) {
        *self = Self::new(self.base, self.max);
    }

    /// When a search is due again, while none is under way. For tests: a search is not worth waking up for, so it goes on
    /// with whatever leaves next, a heartbeat at the latest.
    #[cfg(test)]
    fn poll_timeout(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Done { again_at } if self.current < self.max => Some(again_at),
            _ => None,
        }
    }

    fn next_size(&self) -> Option<usize> {
        let largest = self.too_long - 1;
        if largest < self.current + GAIN_MIN.min(self.max.saturating_sub(self.current)).max(1) {
            return None;
        }
        // The largest first; after it has failed, the middle.
        Some(if largest == self.max { largest } else { (self.current + largest).div_ceil(2) })
    }

    fn settle(&mut self, now: Timestamp) {
        if self.next_size().is_none() {
            self.phase = Phase::Done { again_at: now + RAISE_INTERVAL };
        }
    }
}

/// Probes of one length before it counts as too long (RFC 8899 section 5.1.2).
const PROBES_MAX: u32 = 3;
/// A search that could gain less is over: 16 bytes are 1 % of a datagram.
const GAIN_MIN: usize = 16;
/// Long packets lost in a row that make a black hole: at 10 % independent loss once in a thousand runs of three, and
/// then the price is a search.
const BLACK_HOLE: u32 = 3;
/// Long packets that are remembered to have arrived; those that speak for a lost one arrived just after it.
const REMEMBERED: usize = 8;
const BLACK_HOLE_PAUSE: Duration = Duration::from_secs(10);
/// RFC 8899 section 5.1.1: PMTU_RAISE_TIMER, 600 s.
const RAISE_INTERVAL: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::ZERO;

    /// Probes a path that carries `carries` bytes until the search is over; returns how many probes that took.
    fn search(mtu: &mut PathMtu, carries: usize) -> u64 {
        for packet in 1.. {
            let Some(size) = mtu.poll_probe(NOW) else {
                return packet - 1;
            };
            mtu.on_probe_sent(packet, size);
            if size <= carries {
                assert!(mtu.on_acked(NOW, packet, size));
            } else {
                assert_eq!(mtu.on_lost(NOW, packet, size), Lost::Probe);
            }
        }
        unreachable!("a search ends")
    }

    #[test]
    fn a_good_path_takes_one_probe() {
        let mut mtu = PathMtu::new(1200, 1452);
        assert_eq!((search(&mut mtu, 1500), mtu.current()), (1, 1452));
        assert_eq!((mtu.poll_probe(Timestamp::from_secs(10_000)), mtu.poll_timeout()), (None, None));
    }

    #[test]
    fn a_tunnel_is_found_by_halving() {
        let mut mtu = PathMtu::new(1200, 1452);
        // WireGuard over Ethernet: 1,420 less 28.
        let probes = search(&mut mtu, 1392);
        assert!((1392 - GAIN_MIN..=1392).contains(&mtu.current()), "{}", mtu.current());
        assert!(probes <= 3 + 5 * 3, "{probes} probes");
        let again = mtu.poll_timeout().unwrap();
        assert_eq!(again, NOW + RAISE_INTERVAL);
        assert_eq!(mtu.poll_probe(again), Some(1452), "the path may be another by now");
    }

    #[test]
    fn one_probe_is_under_way_at_a_time_and_a_lost_one_is_no_verdict() {
        let mut mtu = PathMtu::new(1200, 1452);
        mtu.on_probe_sent(5, 1452);
        assert_eq!(mtu.poll_probe(NOW), None);
        assert_eq!(mtu.on_lost(NOW, 4, 1000), Lost::Packet);
        assert_eq!(mtu.on_lost(NOW, 5, 1452), Lost::Probe);
        assert_eq!(mtu.poll_probe(NOW), Some(1452), "the same length again");
        mtu.on_probe_sent(9, 1452);
        assert!(mtu.on_acked(NOW, 9, 1452));
        assert_eq!(mtu.current(), 1452);
    }

    #[test]
    fn a_black_hole_leads_back_to_the_base() {
        let mut mtu = PathMtu::new(1200, 1452);
        search(&mut mtu, 1500);
        let lost: Vec<Lost> = [(10, 1452), (11, 800), (12, 1300), (13, 1452)]
            .map(|(packet, size)| mtu.on_lost(NOW, packet, size))
            .to_vec();
        assert_eq!(lost, [Lost::Packet, Lost::Packet, Lost::Packet, Lost::BlackHole]);
        assert_eq!((mtu.current(), mtu.poll_probe(NOW)), (1200, None));
        assert_eq!(mtu.poll_probe(NOW + BLACK_HOLE_PAUSE), Some(1452));
    }

    #[test]
    fn a_long_packet_that_arrives_fills_the_hole() {
        let mut mtu = PathMtu::new(1200, 1452);
        search(&mut mtu, 1500);
        for packet in 0..100 {
            mtu.on_lost(NOW, packet * 3, 1452);
            mtu.on_lost(NOW, packet * 3 + 1, 1452);
            mtu.on_acked(NOW, packet * 3 + 2, 1452);
        }
        assert_eq!(mtu.current(), 1452);
    }

    #[test]
    fn a_run_of_losses_before_a_long_packet_that_arrived_is_no_hole() {
        let mut mtu = PathMtu::new(1200, 1452);
        search(&mut mtu, 1500);
        mtu.on_acked(NOW, 20, 1452);
        for packet in 10..20 {
            assert_eq!(mtu.on_lost(NOW, packet, 1452), Lost::Packet);
        }
        assert_eq!(mtu.current(), 1452);
    }

    #[test]
    fn nothing_above_the_base_means_no_probe() {
        for max in [0, 1199, 1200] {
            assert_eq!(PathMtu::new(1200, max).poll_probe(NOW), None);
        }
    }

    proptest! {
        #[test]
        fn the_search_ends_near_the_truth(base in 500usize..1500, span in 0usize..9000, carries in 0usize..10_000) {
            let max = base + span;
            let mut mtu = PathMtu::new(base, max);
            let probes = search(&mut mtu, carries.max(base));
            let truth = carries.clamp(base, max);
            prop_assert!(mtu.current() <= truth);
            prop_assert!(truth - mtu.current() < GAIN_MIN, "{} of {truth}", mtu.current());
            // One length after another, three probes for each that fails.
            prop_assert!(probes <= 3 * (2 + span.max(1).ilog2() as u64), "{probes} probes for {span}");
        }

        #[test]
        fn it_stays_within_its_bounds(
            steps in proptest::collection::vec((0u8..4, 0u64..20, 1000usize..1600), 1..200),
        ) {
            let mut mtu = PathMtu::new(1200, 1452);
            let mut next = 1;
            for (what, packet, size) in steps {
                match what {
                    0 => if let Some(size) = mtu.poll_probe(NOW) {
                        prop_assert!(size > mtu.current() && size <= 1452);
                        mtu.on_probe_sent(next, size);
                        next += 1;
                    },
                    1 => { mtu.on_acked(NOW, packet, size); }
                    2 => { mtu.on_lost(NOW, packet, size); }
                    _ => if let Some(probe) = mtu.probe {
                        mtu.on_acked(NOW, probe.packet, probe.size);
                    },
                }
                prop_assert!((1200..=1452).contains(&mtu.current()));
            }
        }
    }
}
