//! Logs of links that ran in virtual time, and what reading them back gives.

use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use units::{ByteCount, Seed, Timestamp};

use super::block::{BlockWriter, frame, header};
use super::*;
use crate::link::{DropCause, Ecn, Link, Meta};
use crate::pacer::{Direction, LinkId, LinkOpened, Observer};

/// What a driver does with one link: packets at irregular times, polls late and seldom, and in the end gives up.
struct Driver {
    link: Link<u32>,
    recorder: Recorder,
    now: Timestamp,
}

const ID: LinkId = LinkId::new(7);

impl Driver {
    fn new(journal: &Journal, spec: &str, seed: u64) -> Self {
        let profile = spec.parse().expect("a valid spec");
        let (seed, origin) = (Seed::root(seed), Timestamp::from_millis(3));
        let mut recorder = journal.recorder();
        let (direction, name) = (Direction::Up, "flow/0/up");
        recorder.opened(&LinkOpened { id: ID, direction, name, seed, profile: &profile, origin });
        Self { link: Link::new(profile, seed).with_origin(origin).with_events(true), recorder, now: origin }
    }

    fn send(&mut self, count: u32) {
        for packet in 0..count {
            // Between nothing and 200 µs.
            self.now += Duration::from_nanos(u64::from(packet.wrapping_mul(2_654_435_761) % 200_000));
            let size = ByteCount(40 + u64::from(packet % 1400));
            let meta = Meta { size, flow: u64::from(packet % 3), ecn: Ecn::NotCapable };
            self.recorder.arrival(ID, self.now, &meta);
            self.link.handle(self.now, packet, meta);
            self.note_drops();
            if packet % 7 == 0 {
                self.poll(self.now);
            }
        }
    }

    fn poll(&mut self, now: Timestamp) {
        while let Some(delivery) = self.link.poll_deliver(now) {
            self.recorder.verdict(ID, &Verdict::from(&delivery));
        }
        self.note_drops();
    }

    fn note_drops(&mut self) {
        while let Some(event) = self.link.poll_event() {
            self.recorder.verdict(ID, &Verdict::from(&event));
        }
    }

    fn end(mut self) {
        self.recorder.discarded(ID);
        self.link.discard();
        self.note_drops();
        self.recorder.closed(ID);
    }
}

fn path(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    (folder, path)
}

fn replay(bytes: &[u8], substitute: Substitute) -> (ReplayReport, u64) {
    let mut replay = Replay::new(substitute).with_verdicts(true);
    let mut reader = LogReader::new(Cursor::new(bytes)).expect("a log");
    let mut verdicts = 0;
    let cut = loop {
        match reader.next_record() {
            Ok(Some((stream, record))) => replay.handle_record(stream, record).expect("it fits"),
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
        while replay.poll_verdict().is_some() {
            verdicts += 1;
        }
    };
    (replay.finish(cut), verdicts)
}

const EVERYTHING: &str = "loss=ge(p=2%,r=30%) delay=20ms jitter=5ms dist=normal rate=20Mbit/s queue=60p \
                          duplicate=2% corrupt=1% reorder=3%/4ms order=allow blackout=100ms+30ms/400ms";

/// A log of [`EVERYTHING`] with a change in the middle, and how its run ended.
fn recorded(packets: u32) -> (Vec<u8>, JournalSummary) {
    let (_folder, path) = path("run.netlog");
    let journal = Journal::create(&path).expect("a file");
    let mut driver = Driver::new(&journal, EVERYTHING, 42);
    driver.send(packets / 2);
    let profile = "loss=1% delay=30ms rate=5Mbit/s".parse().expect("a valid spec");
    driver.recorder.configured(ID, driver.now, &profile);
    driver.link.configure(driver.now, profile);
    driver.send(packets / 2);
    driver.end();
    let summary = journal.finish();
    (std::fs::read(path).expect("the log"), summary)
}

#[test]
fn a_replay_repeats_every_verdict() {
    let (bytes, live) = recorded(20_000);
    assert_eq!(live.fault, None);
    let (report, verdicts) = replay(&bytes, Substitute::default());
    assert_eq!(report.comparison, Comparison::Identical);
    assert_eq!(report.digest, live.digest);
    assert_eq!((report.arrivals, verdicts), (20_000, live.delivered + live.dropped));
    assert!(report.up.balance_holds() && report.up.dropped_closed > 0, "{:?}", report.up);
    assert!(live.dropped > 100 && report.up.corrupted > 0 && report.up.reordered > 0, "{:?}", report.up);
}

#[test]
fn a_changed_seed_differs_at_its_first_packet_that_does() {
    let (bytes, _) = recorded(2_000);
    let mut reader = LogReader::new(Cursor::new(&bytes)).expect("a log");
    let mut replay = Replay::new(Substitute::default());
    while let Some((stream, mut record)) = reader.next_record().expect("whole") {
        if let Record::Opened { seed, .. } = &mut record {
            *seed = Seed::root(43);
        }
        replay.handle_record(stream, record).expect("it fits");
    }
    let Comparison::Different(found) = replay.finish(None).comparison else { panic!("not different") };
    assert_eq!(found.len(), 1, "only the first of each link");
    assert!(found[0].to_string().starts_with("differs at packet "), "{}", found[0]);
}

#[test]
fn another_profile_is_tried_on_the_same_arrivals() {
    let (bytes, _) = recorded(2_000);
    let profile = "loss=every(4) delay=1ms".parse().expect("a valid spec");
    let (report, verdicts) = replay(&bytes, Substitute { up: Some(profile), down: None });
    assert_eq!(report.comparison, Comparison::NotCompared);
    assert_eq!((report.up.offered, report.up.dropped_loss), (2_000, 500));
    assert_eq!(verdicts, report.up.delivered + report.up.dropped_loss);
}

#[test]
fn a_cut_log_says_where_and_is_repeated_up_to_there() {
    let (bytes, _) = recorded(20_000);
    let (report, verdicts) = replay(&bytes[..bytes.len() * 2 / 3], Substitute::default());
    let Comparison::Incomplete(reason) = report.comparison else { panic!("{:?}", report.comparison) };
    assert!(reason.starts_with("offset ") && reason.contains("in the middle of a block"), "{reason}");
    assert!(verdicts > 5_000);
}

#[test]
fn damage_is_told_by_its_offset_and_never_replayed() {
    let (mut bytes, _) = recorded(20_000);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let (report, _) = replay(&bytes, Substitute::default());
    let Comparison::Incomplete(reason) = report.comparison else { panic!("{:?}", report.comparison) };
    assert!(reason.contains("its checksum does not match"), "{reason}");
}

#[test]
fn a_missing_block_is_seen() {
    let mut writer = BlockWriter::new(3);
    let mut bytes = header();
    for number in 0..3 {
        writer.push(&Record::Closed { link: number });
        let payload = writer.take().expect("a payload");
        if number != 1 {
            bytes.extend(frame(&payload));
        }
    }
    let mut reader = LogReader::new(Cursor::new(&bytes)).expect("a log");
    assert!(matches!(reader.next_record(), Ok(Some((3, Record::Closed { link: 0 })))));
    assert!(matches!(reader.next_record(), Err(LogError::Missing { stream: 3, .. })));
}

#[test]
fn other_files_are_refused_in_a_sentence() {
    let refuse = |bytes: &[u8]| LogReader::new(Cursor::new(bytes.to_vec())).expect_err("no log").to_string();
    assert!(refuse(b"").contains("no arrival log"));
    assert!(refuse(b"{\"json\": true, \"is\": \"not it\"}").contains("no arrival log"));
    let mut newer = header();
    newer[8] = 9;
    assert!(refuse(&newer).contains("version 9"), "{}", refuse(&newer));
}

#[test]
fn a_log_with_a_gap_says_so_at_both_ends() {
    let (_folder, path) = path("run.netlog");
    let journal = Journal::create(&path).expect("a file");
    let mut recorder = journal.recorder();
    let profile = "none".parse().expect("a valid spec");
    let (seed, origin) = (Seed::root(1), Timestamp::ZERO);
    let (direction, name) = (Direction::Up, "flow/0/up");
    recorder.opened(&LinkOpened { id: ID, direction, name, seed, profile: &profile, origin });
    recorder.give_up("the disk did not keep up, and records were lost");
    recorder.arrival(ID, Timestamp::ZERO, &Meta::of_size(ByteCount(1)));
    assert_eq!(recorder.lost(), 1);
    drop(recorder);
    let summary = journal.finish();
    assert!(summary.fault.is_some_and(|fault| fault.contains("did not keep up")));
    let (report, _) = replay(&std::fs::read(path).expect("the log"), Substitute::default());
    assert!(
        matches!(report.comparison, Comparison::Incomplete(reason) if reason.contains("did not keep up"))
    );
}

#[test]
fn drops_that_the_link_did_not_tell_are_a_gap_with_their_number() {
    let (_folder, path) = path("missed.log");
    let journal = Journal::create(&path).expect("a file");
    let mut recorder = journal.recorder();
    Observer::<u32>::on_missed_drops(&mut recorder, LinkId::new(0), 17);
    assert_eq!(recorder.lost(), 17);
    drop(recorder);
    let fault = journal.finish().fault.expect("a gap");
    assert!(fault.starts_with("17 drops at once"), "{fault}");
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let cause = prop_oneof![Just(DropCause::Loss), Just(DropCause::Blackout), Just(DropCause::Queue)];
    let at = || any::<u64>().prop_map(Timestamp::from_nanos);
    let fate = prop_oneof![
        (at(), at(), any::<Option<u64>>(), any::<bool>())
            .prop_map(|(arrived, due, corrupt, mark)| Fate::Delivered { arrived, due, corrupt, mark }),
        (at(), cause).prop_map(|(at, cause)| Fate::Dropped { at, cause }),
    ];
    (any::<u64>(), any::<bool>(), fate).prop_map(|(number, copy, fate)| Verdict { number, copy, fate })
}

fn record() -> impl Strategy<Value = Record> {
    let ecn = prop_oneof![Just(Ecn::NotCapable), Just(Ecn::Capable), Just(Ecn::Experienced)];
    let meta = (any::<u64>(), any::<u64>(), ecn).prop_map(|(size, flow, ecn)| Meta {
        size: ByteCount(size),
        flow,
        ecn,
    });
    let at = || any::<u64>().prop_map(Timestamp::from_nanos);
    let profile = prop_oneof![Just("none"), Just("loss=1% delay=5ms rate=1Mbit/s")];
    prop_oneof![
        (any::<u64>(), profile).prop_map(|(number, spec)| Record::Profile {
            number,
            profile: Portable::new(&spec.parse().expect("valid")).expect("portable"),
        }),
        (any::<u64>(), any::<u64>(), at(), any::<u64>(), ".*").prop_map(
            |(link, seed, origin, profile, name)| {
                let direction = if seed % 2 == 0 { Direction::Up } else { Direction::Down };
                Record::Opened { link, direction, name, seed: Seed::root(seed), origin, profile }
            }
        ),
        (any::<u64>(), at(), any::<u64>()).prop_map(|(link, at, profile)| Record::Configured {
            link,
            at,
            profile
        }),
        (0..3_u64, at(), meta).prop_map(|(link, at, meta)| Record::Arrival { link, at, meta }),
        (0..3_u64, verdict()).prop_map(|(link, verdict)| Record::Verdict { link, verdict }),
        any::<u64>().prop_map(|link| Record::Discarded { link }),
        any::<u64>().prop_map(|link| Record::Closed { link }),
        ".*".prop_map(|reason| Record::Gap { reason }),
        (any::<[u64; 3]>(), any::<[u8; 32]>()).prop_map(|([arrivals, delivered, dropped], digest)| {
            Record::End { summary: StreamSummary { arrivals, delivered, dropped, digest: Digest(digest) } }
        }),
    ]
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(records in prop::collection::vec(record(), 0..50), stream: u64) {
        let (mut writer, mut bytes) = (BlockWriter::new(stream), header());
        for (place, record) in records.iter().enumerate() {
            writer.push(record);
            if place % 9 == 0 {
                bytes.extend(frame(&writer.take().expect("a payload")));
            }
        }
        bytes.extend(writer.take().map_or(Vec::new(), |payload| frame(&payload)));
        let mut reader = LogReader::new(Cursor::new(bytes)).expect("a log");
        let mut back = Vec::new();
        while let Some((from, record)) = reader.next_record().expect("whole") {
            prop_assert_eq!(from, stream);
            back.push(record);
        }
        prop_assert_eq!(back, records);
    }

    #[test]
    fn no_bytes_make_a_reader_or_a_replay_panic(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5)) {
        let mut bytes = header();
        payloads.iter().for_each(|payload| bytes.extend(frame(payload)));
        let mut reader = LogReader::new(Cursor::new(bytes)).expect("a header");
        let mut replay = Replay::new(Substitute::default());
        while let Ok(Some((stream, record))) = reader.next_record() {
            let _ = replay.handle_record(stream, record);
        }
        let _ = replay.finish(None);
    }

    #[test]
    fn any_records_in_any_order_are_survived(records in prop::collection::vec(record(), 0..30)) {
        let mut replay = Replay::new(Substitute::default());
        for record in records {
            let _ = replay.handle_record(0, record);
        }
        let _ = replay.finish(None);
    }
}
