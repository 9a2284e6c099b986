use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const fn ms(number: u64) -> Timestamp {
    Timestamp::from_millis(number)
}

/// A proxy's direction and one connection of it, in virtual time.
struct Bed {
    plan: Plan,
    chain: Chain,
    next_id: u64,
    now: Timestamp,
    out: Vec<(Timestamp, Item)>,
}

impl Bed {
    fn new(toxics: &[&str]) -> Self {
        Self::with_profile("none", toxics)
    }

    fn with_profile(spec: &str, toxics: &[&str]) -> Self {
        Self::of(Seed::root(1), spec, toxics)
    }

    fn of(seed: Seed, spec: &str, toxics: &[&str]) -> Self {
        let plan = Plan { profile: spec.parse().expect("a stream profile"), ..Plan::default() };
        let chain = Chain::new(seed, &plan, Timestamp::ZERO);
        let mut bed = Self { plan, chain, next_id: 0, now: Timestamp::ZERO, out: Vec::new() };
        toxics.iter().for_each(|toxic| bed.add(toxic));
        bed
    }

    fn add(&mut self, toxic: &str) {
        let toxic: Toxic = toxic.parse().expect("a toxic");
        let toxic = Toxic { name: format!("{}-{}", toxic.name, self.next_id), ..toxic };
        self.plan.toxics.push(Arc::new(Installed::new(self.next_id, toxic)));
        self.next_id += 1;
        self.configure();
    }

    fn remove(&mut self, index: usize) {
        self.plan.toxics.remove(index);
        self.configure();
    }

    fn update(&mut self, index: usize, toxic: &str) {
        let toxic: Toxic = toxic.parse().expect("a toxic");
        let place = &mut self.plan.toxics[index];
        *place = Arc::new(place.updated(toxic.kind, toxic.toxicity));
        self.configure();
    }

    fn configure(&mut self) {
        self.chain.configure(self.now, &self.plan);
        self.collect();
    }

    fn send(&mut self, bytes: &[u8]) {
        self.chain.handle(self.now, Item::Data(Bytes::copy_from_slice(bytes)));
        self.collect();
    }

    fn end(&mut self) {
        self.chain.handle(self.now, Item::End(End::Eof));
        self.collect();
    }

    /// Wakes up whenever the chain asks for it, until `until`.
    fn run(&mut self, until: Timestamp) {
        while let Some(at) = self.chain.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            let before = (self.out.len(), self.chain.poll_timeout());
            self.collect();
            assert_ne!((self.out.len(), self.chain.poll_timeout()), before, "nothing moves at {at}");
        }
        self.now = until;
        self.collect();
    }

    fn collect(&mut self) {
        while let Some((at, item)) = self.chain.poll_output(self.now) {
            assert!(at <= self.now, "early");
            self.out.push((at, item));
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let data = self.out.iter().filter_map(|(_, item)| match item {
            Item::Data(bytes) => Some(&bytes[..]),
            Item::End(_) => None,
        });
        data.collect::<Vec<_>>().concat()
    }

    /// Length and time of each piece, in milliseconds.
    fn pieces(&self) -> Vec<(usize, u64)> {
        let data = self.out.iter().filter_map(|(at, item)| match item {
            Item::Data(bytes) => Some((bytes.len(), at.as_micros() / 1000)),
            Item::End(_) => None,
        });
        data.collect()
    }

    fn ended(&self) -> Option<(End, Timestamp)> {
        match self.out.last() {
            Some((at, Item::End(end))) => Some((*end, *at)),
            _ => None,
        }
    }
}

#[test]
fn nothing_installed_changes_nothing_and_a_rolled_off_toxic_is_nothing() {
    for toxics in [&[][..], &["noop"], &["latency:latency=100*0"]] {
        let mut bed = Bed::new(toxics);
        assert!(bed.chain.is_transparent(), "{toxics:?}");
        bed.send(b"abc");
        bed.end();
        assert_eq!(bed.pieces(), [(3, 0)]);
        assert_eq!(bed.ended(), Some((End::Eof, Timestamp::ZERO)));
    }
}

#[test]
fn latencies_add_up_keep_order_and_do_not_delay_the_end() {
    let mut bed = Bed::new(&["latency:latency=100", "latency:latency=50"]);
    bed.send(b"a");
    bed.now = ms(10);
    bed.send(b"bc");
    bed.end();
    bed.run(ms(1000));
    assert_eq!(bed.pieces(), [(1, 150), (2, 160)]);
    assert_eq!(bed.ended(), Some((End::Eof, ms(160))));
}

#[test]
fn jitter_stays_within_its_bounds_and_never_reorders() {
    let mut bed = Bed::new(&["latency:latency=100,jitter=50"]);
    for n in 0..200 {
        bed.now = ms(n * 200);
        bed.send(&[n as u8]);
        bed.run(ms(n * 200 + 199));
    }
    let delays: Vec<u64> = bed.pieces().iter().enumerate().map(|(n, (_, at))| at - n as u64 * 200).collect();
    assert!(delays.iter().all(|delay| (50..=150).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay < 70) && delays.iter().any(|delay| *delay > 130), "{delays:?}");
    assert_eq!(bed.bytes(), (0..200).map(|n| n as u8).collect::<Vec<_>>());
}

#[test]
fn a_rate_is_exact_however_late_the_driver_wakes() {
    let mut bed = Bed::new(&["bandwidth:rate=100"]);
    for _ in 0..5 {
        bed.send(&[7; 10_000]);
    }
    bed.end();
    // Nobody looked for a second.
    bed.now = ms(1000);
    bed.collect();
    let times: Vec<u64> = bed.pieces().iter().map(|(_, at)| *at).collect();
    assert_eq!(times, [100, 200, 300, 400, 500]);
    assert_eq!(bed.ended(), Some((End::Eof, ms(500))));
}

#[test]
fn nothing_passes_at_rate_zero_until_it_is_changed() {
    let mut bed = Bed::new(&["bandwidth:rate=0"]);
    bed.send(b"abc");
    bed.end();
    bed.run(ms(100_000));
    assert_eq!((bed.out.len(), bed.chain.poll_timeout()), (0, None));
    bed.update(0, "bandwidth:rate=1");
    bed.run(ms(200_000));
    assert_eq!(bed.pieces(), [(3, 100_003)]);
}

#[test]
fn slow_close_delays_the_end_alone() {
    let mut bed = Bed::new(&["slow_close:delay=300"]);
    bed.send(b"abc");
    bed.end();
    bed.run(ms(1000));
    assert_eq!(bed.pieces(), [(3, 0)]);
    assert_eq!(bed.ended(), Some((End::Eof, ms(300))));
}

#[test]
fn a_timeout_swallows_and_closes_after_idleness() {
    let mut bed = Bed::new(&["timeout:timeout=100"]);
    bed.run(ms(60));
    bed.send(b"abc");
    bed.run(ms(120));
    bed.send(b"def");
    assert_eq!(bed.chain.held(), 0);
    bed.run(ms(1000));
    assert_eq!((bed.bytes(), bed.ended()), (vec![], Some((End::Close, ms(220)))));
}

#[test]
fn a_timeout_of_zero_never_closes_and_its_removal_does() {
    let mut bed = Bed::new(&["timeout:timeout=0"]);
    bed.send(b"abc");
    bed.end();
    bed.run(ms(1_000_000));
    assert_eq!((bed.out.len(), bed.chain.poll_timeout()), (0, None));
    bed.remove(0);
    assert_eq!(bed.ended(), Some((End::Close, ms(1_000_000))));
    // Of those it spares it swallowed nothing.
    let mut spared = Bed::new(&["timeout:timeout=0*0"]);
    spared.send(b"abc");
    spared.remove(0);
    assert_eq!((spared.bytes(), spared.ended()), (b"abc".to_vec(), None));
}

#[test]
fn a_reset_waits_for_input_and_removed_in_time_loses_nothing() {
    let mut bed = Bed::new(&["reset_peer:timeout=100"]);
    bed.run(ms(500));
    bed.send(b"abc");
    bed.run(ms(550));
    bed.send(b"def");
    let mut spared = Bed::new(&["reset_peer:timeout=100"]);
    spared.send(b"abc");
    spared.run(ms(50));
    spared.remove(0);
    assert_eq!((spared.bytes(), spared.ended()), (b"abc".to_vec(), None));
    bed.run(ms(1000));
    assert_eq!((bed.bytes(), bed.ended()), (vec![], Some((End::Reset, ms(600)))));
    // An end is input as well.
    let mut closing = Bed::new(&["reset_peer"]);
    closing.end();
    assert_eq!(closing.ended(), Some((End::Reset, Timestamp::ZERO)));
}

#[test]
fn a_limit_counts_over_updates_and_closes_with_its_last_byte() {
    let mut bed = Bed::new(&["limit_data:bytes=100"]);
    bed.send(&[1; 60]);
    bed.update(0, "limit_data:bytes=80");
    bed.send(&[2; 60]);
    bed.send(&[3; 60]);
    assert_eq!(bed.pieces(), [(60, 0), (20, 0)]);
    assert_eq!(bed.ended(), Some((End::Close, Timestamp::ZERO)));
    let mut nothing = Bed::new(&["limit_data:bytes=0"]);
    nothing.send(b"abc");
    assert_eq!((nothing.bytes(), nothing.ended()), (vec![], Some((End::Close, Timestamp::ZERO))));
}

#[test]
fn slices_are_separate_and_pauses_follow_each() {
    let mut bed = Bed::new(&["slicer:average_size=10,delay=5000"]);
    bed.send(&[0; 40]);
    assert!(bed.chain.keeps_boundaries());
    bed.run(ms(100));
    assert_eq!(bed.pieces(), [(10, 0), (10, 5), (10, 10), (10, 15)]);
}

#[test]
fn what_a_removed_toxic_held_meets_those_that_stay() {
    let mut bed = Bed::new(&["latency:latency=1000", "latency:latency=50", "slicer:average_size=2"]);
    bed.send(b"abcd");
    bed.run(ms(10));
    bed.remove(0);
    bed.run(ms(1000));
    assert_eq!(bed.pieces(), [(2, 60), (2, 60)]);
}

#[test]
fn an_update_moves_what_waits_and_not_back_in_time() {
    let mut bed = Bed::new(&["latency:latency=1000"]);
    bed.send(b"a");
    bed.run(ms(100));
    bed.update(0, "latency:latency=500");
    bed.run(ms(300));
    bed.send(b"b");
    bed.update(0, "latency:latency=10");
    bed.run(ms(1000));
    // The first was to leave at 10 ms, which is over.
    assert_eq!(bed.pieces(), [(1, 300), (1, 310)]);
}

#[test]
fn neighbours_never_change_a_roll() {
    let affected = |neighbours: bool| -> Vec<bool> {
        let one = |n: u64| {
            let seed = Seed::root(9).fork(&format!("connection/{n}"));
            let mut bed = Bed::of(seed, "none", &["latency:latency=1000*0.5"]);
            if neighbours {
                bed.add("noop");
                bed.add("slicer:average_size=10*0.5");
                bed.remove(1);
            }
            bed.chain.affecting().any(|name| name.starts_with("latency"))
        };
        (0..64).map(one).collect()
    };
    let alone = affected(false);
    assert_eq!(alone, affected(true));
    assert!(alone.contains(&true) && alone.contains(&false));
}

#[test]
fn the_link_delays_the_end_as_well_and_keeps_its_rate() {
    let mut bed = Bed::with_profile("delay=50ms rate=8Mbit/s", &[]);
    assert!(!bed.chain.is_transparent());
    bed.send(&[0; 30_000]);
    bed.end();
    bed.run(ms(1000));
    // A megabyte a second: 30 ms for the last byte.
    assert_eq!(bed.ended(), Some((End::Eof, ms(80))));
    assert_eq!(bed.bytes().len(), 30_000);
    bed.plan.profile = StreamProfile::default();
    bed.configure();
    assert!(!bed.chain.is_transparent(), "it has ended");
}

#[test]
fn a_blackout_is_a_stall_that_loses_nothing() {
    let mut bed = Bed::with_profile("delay=10ms blackout=1s+2s", &[]);
    bed.run(ms(999));
    bed.send(b"a");
    bed.run(ms(1500));
    bed.send(b"b");
    bed.end();
    bed.run(ms(5000));
    assert_eq!(bed.pieces(), [(1, 1009), (1, 3010)]);
    assert_eq!(bed.ended(), Some((End::Eof, ms(3010))));
}

#[test]
fn a_profile_taken_away_leaves_a_plain_relay_once_it_is_empty() {
    let mut bed = Bed::with_profile("delay=50ms", &[]);
    bed.send(b"a");
    bed.plan.profile = StreamProfile::default();
    bed.configure();
    assert!(!bed.chain.is_transparent());
    bed.run(ms(50));
    assert_eq!(bed.pieces(), [(1, 50)]);
    assert!(bed.chain.is_transparent());
}

#[test]
fn bounds_follow_what_is_installed() {
    let bound = |spec: &str, toxics: &[&str]| Bed::with_profile(spec, toxics).chain.bound();
    assert_eq!(bound("none", &[]), LEAST_BOUND);
    assert_eq!(bound("none", &["latency:latency=50"]), MOST_BOUND);
    // 1 MB/s over 45 ms and the slack of 5 ms.
    assert_eq!(bound("none", &["latency:latency=45", "bandwidth:rate=1000"]), LEAST_BOUND + 50_000);
    assert_eq!(bound("delay=45ms rate=8Mbit/s", &[]), LEAST_BOUND + 50_000);
    assert_eq!(bound("none", &["bandwidth:rate=0"]), LEAST_BOUND);
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Wait(u64),
    Add(usize),
    Remove(usize),
    Update(usize),
}

/// Toxics that lose nothing, and two attributes of each.
const HARMLESS: [[&str; 2]; 6] = [
    ["latency:latency=30", "latency:latency=5,jitter=5"],
    ["bandwidth:rate=50", "bandwidth:rate=3"],
    ["slicer:average_size=100,delay=100", "slicer:average_size=7,size_variation=3"],
    ["slow_close:delay=10", "slow_close:delay=20"],
    ["noop", "noop*0.5"],
    ["latency:latency=20,jitter=20*0.5", "latency:latency=20*0.2"],
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_usize..3000).prop_map(Step::Send),
        4 => (0_u64..40_000).prop_map(Step::Wait),
        2 => (0..HARMLESS.len()).prop_map(Step::Add),
        1 => (0_usize..8).prop_map(Step::Remove),
        2 => (0_usize..8).prop_map(Step::Update),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Runs the steps, then removes everything; returns what was sent and the bed.
fn churn(steps: &[Step]) -> (Vec<u8>, Bed) {
    let mut bed = Bed::new(&[]);
    let mut kinds: Vec<usize> = Vec::new();
    let mut sent = Vec::new();
    for step in steps {
        match step {
            Step::Send(length) => {
                let bytes: Vec<u8> = (sent.len()..sent.len() + length).map(|n| (n % 251) as u8).collect();
                bed.send(&bytes);
                sent.extend(bytes);
            }
            Step::Wait(micros) => bed.run(bed.now + Duration::from_micros(*micros)),
            Step::Add(kind) if kinds.len() < 8 => {
                bed.add(HARMLESS[*kind][0]);
                kinds.push(*kind);
            }
            Step::Remove(index) if *index < kinds.len() => {
                bed.remove(*index);
                kinds.remove(*index);
            }
            Step::Update(index) if *index < kinds.len() => bed.update(*index, HARMLESS[kinds[*index]][1]),
            Step::Add(_) | Step::Remove(_) | Step::Update(_) => {}
        }
        assert!(bed.chain.held() == 0 || bed.chain.poll_timeout().is_some(), "held, and nothing to wait for");
    }
    bed.end();
    while !kinds.is_empty() {
        bed.remove(0);
        kinds.pop();
    }
    bed.run(bed.now);
    (sent, bed)
}

proptest! {
    #[test]
    fn whatever_is_changed_no_byte_is_lost_and_the_end_comes_last(steps in steps()) {
        let (sent, bed) = churn(&steps);
        prop_assert!(bed.bytes() == sent);
        prop_assert_eq!(bed.ended().map(|(end, _)| end), Some(End::Eof));
        prop_assert_eq!(bed.chain.held(), 0);
        prop_assert!(bed.out.is_sorted_by_key(|(at, _)| *at));
    }

    #[test]
    fn the_same_steps_give_the_same_times(steps in steps()) {
        prop_assert!(churn(&steps).1.out == churn(&steps).1.out);
    }

    #[test]
    fn when_the_driver_wakes_changes_no_time(
        toxics in proptest::collection::vec(0..HARMLESS.len(), 1..5),
        variant in 0_usize..2,
        pieces in proptest::collection::vec((1_usize..2000, 0_u64..20_000), 1..30),
    ) {
        let run = |eager: bool| {
            let toxics: Vec<&str> = toxics.iter().map(|kind| HARMLESS[*kind][variant]).collect();
            let mut bed = Bed::with_profile("delay=3ms jitter=2ms rate=10Mbit/s", &toxics);
            for (length, gap) in &pieces {
                bed.chain.handle(bed.now, Item::Data(Bytes::from(vec![1; *length])));
                let next = bed.now + Duration::from_micros(*gap);
                if eager { bed.run(next) } else { bed.now = next }
            }
            bed.end();
            bed.run(bed.now + Duration::from_secs(1000));
            bed.out
        };
        prop_assert!(run(true) == run(false));
    }

    #[test]
    fn a_limit_passes_a_prefix_and_closes(limit in 0_usize..5000, steps in steps()) {
        let mut bed = Bed::new(&[&format!("limit_data:bytes={limit}")]);
        let mut sent = Vec::new();
        for step in &steps {
            match step {
                Step::Send(length) => {
                    bed.send(&vec![sent.len() as u8; *length]);
                    sent.extend(vec![sent.len() as u8; *length]);
                }
                Step::Add(kind) => bed.add(HARMLESS[*kind][0]),
                _ => {}
            }
        }
        bed.end();
        bed.run(bed.now + Duration::from_secs(1000));
        prop_assert!(bed.bytes() == sent[..limit.min(sent.len())]);
        let cut = !sent.is_empty() && sent.len() >= limit;
        let end = if cut { End::Close } else { End::Eof };
        prop_assert_eq!(bed.ended().map(|(end, _)| end), Some(end));
    }
}

#[test]
fn the_largest_numbers_are_only_large() {
    let most = i64::MAX;
    let mut bed = Bed::new(&[
        &format!("bandwidth:rate={most}"),
        &format!("slicer:average_size={most},size_variation={most},delay=0"),
        &format!("limit_data:bytes={most}"),
        &format!("latency:latency={most},jitter={most}"),
        &format!("latency:latency={most},jitter={most}"),
        &format!("slow_close:delay={most}"),
        &format!("timeout:timeout={most}"),
    ]);
    assert_eq!(bed.chain.bound(), MOST_BOUND);
    bed.send(b"abc");
    bed.end();
    bed.run(Timestamp::from_secs(1_000_000));
    assert_eq!(bed.bytes(), b"");
}
