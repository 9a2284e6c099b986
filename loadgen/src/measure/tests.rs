//! The recorder against the exact oracle, against known answers, and over hours.

use std::sync::Arc;
use std::time::Duration;

use chat_core::connection::Delays;
use chat_core::trace::waits::{Wait, Waited};
use chat_core::trace::{LossReason, steps as trace};
use proptest::prelude::*;
use units::Timestamp;

use super::check::{History, MessageRecord, check};
use super::{Recorded, Recorder};
use crate::backend::Cast;
use crate::backend::waits::NotTold;
use crate::distribution::Distribution;
use crate::record::{DeliveryRow, DeliveryStatus};
use crate::records::{Hop, StepKind, Why};
use crate::scenario::{Scenario, load_str};
use crate::seen::{Arrival, Seen};
use crate::workload::{Intent, Target};

/// Seven clients in three rooms; every way of delivery.
fn scenario() -> Scenario {
    let toml = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"a\", count = 7, rooms = { size = 3 } }]\n\
         phase = [{ name = \"warm\", duration = \"1s\", record = false }, { name = \"steady\", duration = \"9s\" }, \
         { name = \"drain\", drain = \"5s\" }]\n\
         [[workload]]\nname = \"room\"\narrival = { rate = \"1/s\" }\n\
         [[workload]]\nname = \"latest\"\narrival = { rate = \"1/s\" }\ndelivery = { order = \"latest\" }\n\
         [[workload]]\nname = \"tries\"\narrival = { rate = \"1/s\" }\n\
         delivery = { order = \"unordered\", reliability = { attempts = 1 } }\n\
         [[workload]]\nname = \"private\"\nkind = \"private\"\narrival = { rate = \"1/s\" }\n\
         [[workload]]\nname = \"all\"\nkind = \"broadcast\"\narrival = { rate = \"1/s\" }\n";
    load_str("t.toml", toml, &[]).unwrap_or_else(|error| panic!("{error}")).scenario
}

const CLIENTS: u32 = 7;
const BEGAN: Timestamp = Timestamp::from_secs(5);

fn recorder(scenario: &Scenario) -> Recorder {
    let cast = Arc::new(Cast::new(scenario, String::new()));
    let mut recorder = Recorder::new(scenario, cast, Err(NotTold::Baseline));
    recorder.begin(BEGAN);
    recorder
}

/// What becomes of one message.
#[derive(Clone, Debug)]
struct Fate {
    workload: u16,
    sender: u32,
    other: u32,
    gap: u64,
    /// Microseconds from intended to submitted; `None`: refused.
    submitted: Option<u64>,
    /// Microseconds from there to its end, and whether that is an acknowledgement; `None`: it never comes.
    end: Option<(u64, bool)>,
    /// Who hears it, so much later, and whether as it was sent; some for whom it was not.
    arrivals: Vec<(u32, u64, bool)>,
}

fn fate() -> impl Strategy<Value = Fate> {
    let arrival = (0..CLIENTS, 0_u64..4_000_000, prop::bool::weighted(0.95));
    (
        0_u16..5,
        0..CLIENTS,
        0..CLIENTS,
        0_u64..200_000,
        prop::option::weighted(0.95, 0_u64..30_000),
        prop::option::weighted(0.9, (0_u64..3_000_000, prop::bool::weighted(0.8))),
        prop::collection::vec(arrival, 0..12),
    )
        .prop_map(|(workload, sender, other, gap, submitted, end, arrivals)| Fate {
            workload,
            sender,
            other,
            gap,
            submitted,
            end,
            arrivals,
        })
}

/// The same story for the oracle and, in order of time, for the recorder.
fn told(fates: &[Fate], strangers: &[(u32, u64)]) -> (History, Vec<Seen>) {
    let mut history = History { began: BEGAN, messages: Vec::new(), arrivals: Vec::new() };
    let mut seen = Vec::new();
    let mut intended = BEGAN;
    for (id, fate) in (0..).zip(fates) {
        intended += Duration::from_micros(fate.gap);
        let target = match fate.workload {
            3 => Target::Client(if fate.other == fate.sender {
                (fate.sender + 1) % CLIENTS
            } else {
                fate.other
            }),
            4 => Target::All,
            _ => Target::Room(0),
        };
        let phase = u16::from(intended.since(BEGAN) >= Duration::from_secs(1));
        let (workload, sender) = (fate.workload, fate.sender);
        let intent = Intent { id, workload, sender, target, intended, phase, size: 40 };
        seen.push((intended, Seen::Intent(intent)));
        let submitted = fate.submitted.map(|us| intended + Duration::from_micros(us));
        let mut message = MessageRecord { intent, submitted, acked: None, failed: false };
        let Some(submitted) = submitted else {
            seen.push((intended, Seen::Refused { message: id }));
            history.messages.push(message);
            continue;
        };
        seen.push((submitted, Seen::Submitted { message: id, at: submitted }));
        if let Some((us, is_acked)) = fate.end {
            let at = submitted + Duration::from_micros(us);
            if is_acked {
                message.acked = Some(at);
                seen.push((at, Seen::Acked { message: id, at }));
            } else {
                message.failed = true;
                seen.push((at, Seen::Failed { message: id, at }));
            }
        }
        history.messages.push(message);
        for &(recipient, us, intact) in &fate.arrivals {
            let at = submitted + Duration::from_micros(us);
            seen.push((at, Seen::Arrived(Arrival { recipient, message: Some(id), at, intact })));
        }
    }
    for &(recipient, us) in strangers {
        let at = BEGAN + Duration::from_micros(us);
        seen.push((at, Seen::Arrived(Arrival { recipient, message: None, at, intact: false })));
    }
    seen.sort_by_key(|(at, _)| *at);
    let seen: Vec<Seen> = seen.into_iter().map(|(_, seen)| seen).collect();
    let arrivals = seen.iter().filter_map(|seen| match seen {
        Seen::Arrived(arrival) => Some(*arrival),
        _ => None,
    });
    history.arrivals = arrivals.collect();
    (history, seen)
}

fn of_rows(rows: &[DeliveryRow], from: impl Fn(&DeliveryRow) -> Option<u64>) -> Distribution {
    let mut distribution = Distribution::default();
    for row in rows.iter().filter(|row| row.recorded == 1 && row.status.is_expected()) {
        let arrived = row.delivered_us.filter(|_| row.status != DeliveryStatus::Corrupted);
        if let Some(from) = from(row) {
            distribution.record(arrived.map(|at| at - from));
        }
    }
    distribution
}

proptest! {
    #[test]
    fn a_stream_is_judged_as_the_whole_history_is(
        fates in prop::collection::vec(fate(), 0..40),
        strangers in prop::collection::vec((0..CLIENTS, 0_u64..3_000_000), 0..3),
    ) {
        let scenario = scenario();
        let (history, seen) = told(&fates, &strangers);
        let exact = check(&scenario, &history);
        let mut recorder = recorder(&scenario);
        seen.iter().for_each(|&seen| recorder.on(seen));
        let recorded = recorder.finish(&scenario, BEGAN + Duration::from_secs(20));
        prop_assert_eq!(&recorded.messages, &exact.messages);
        prop_assert_eq!(&recorded.deliveries, &exact.rows);
        prop_assert_eq!(&recorded.all.delivery, &of_rows(&exact.rows, |row| Some(row.intended_us)));
        prop_assert_eq!(&recorded.all.service, &of_rows(&exact.rows, |row| row.submitted_us));
        check_parts(&recorded, &exact.rows)?;
    }
}

/// What is cut another way must add up to the same.
fn check_parts(recorded: &Recorded, rows: &[DeliveryRow]) -> Result<(), TestCaseError> {
    let sum =
        |value: fn(&crate::records::Interval) -> u64| recorded.intervals.rows.iter().map(value).sum::<u64>();
    let count = |is: &dyn Fn(&DeliveryRow) -> bool| rows.iter().filter(|row| is(row)).count() as u64;
    let arrived =
        |row: &DeliveryRow| matches!(row.status, DeliveryStatus::Delivered | DeliveryStatus::OutOfOrder);
    prop_assert_eq!(sum(|row| row.expected), count(&|row| row.status.is_expected()));
    prop_assert_eq!(sum(|row| row.delivered), count(&arrived));
    prop_assert_eq!(sum(|row| row.lost), count(&|row| row.status.is_expected() && !arrived(row)));
    let heat = recorded.intervals.rows.iter().flat_map(|row| &row.heat).map(|(_, count)| u64::from(*count));
    prop_assert_eq!(heat.sum::<u64>(), count(&arrived));
    let heard = recorded.clients.iter().map(|client| client.delivered).sum::<u64>();
    prop_assert_eq!(heard, recorded.messages.delivered);
    let slowest = rows.iter().filter(|row| row.recorded == 1 && arrived(row));
    let slowest = slowest.filter_map(|row| Some(row.delivered_us? - row.intended_us)).max();
    let kept = recorded.exemplars.iter();
    let kept = kept.filter_map(|exemplar| Some(exemplar.delivered_us? - exemplar.intended_us)).max();
    prop_assert_eq!(kept, slowest);
    for work in &recorded.workloads {
        prop_assert!(work.messages.is_conserved());
    }
    Ok(())
}

/// A message of the first workload to the room of `sender`, in the recorded phase.
fn say(recorder: &mut Recorder, id: u32, sender: u32, intended: Timestamp, submitted: Timestamp) {
    let target = Target::Room(0);
    recorder.on(Seen::Intent(Intent { id, workload: 0, sender, target, intended, phase: 1, size: 40 }));
    recorder.on(Seen::Submitted { message: id, at: submitted });
    recorder.on(Seen::Acked { message: id, at: submitted + MS });
}

fn hear(recorder: &mut Recorder, message: u32, recipient: u32, at: Timestamp) {
    recorder.on(Seen::Arrived(Arrival { recipient, message: Some(message), at, intact: true }));
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_stall_shows_from_the_intended_time_and_not_from_the_submitted_one() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    let (stall, over) = (BEGAN + 30_000 * MS, BEGAN + 32_000 * MS);
    // A hundred a second, each 10 ms under way; whoever sends stands still for two seconds.
    for id in 0..6000 {
        let intended = BEGAN + 10 * id * MS;
        let submitted = if intended >= stall { intended.max(over) } else { intended };
        say(&mut recorder, id, 0, intended, submitted);
        hear(&mut recorder, id, 1, submitted + 10 * MS);
        hear(&mut recorder, id, 2, submitted + 10 * MS);
    }
    let all = recorder.finish(&scenario, BEGAN + 61_000 * MS).all;
    // Latencies are 10 ms for 5800 messages and 20 ms, 30 ms, … 2010 ms for 200: the slowest hundredth begins with the
    // sixtieth from the end, and p99 is the one before it. Three digits of the histogram.
    for (q, expected) in [(0.5, 10_000), (0.96, 10_000), (0.99, 1_410_000), (0.999, 1_950_000)] {
        let got = all.delivery.quantile(q).expect("nothing is lost");
        assert!(got.abs_diff(expected) <= 10_000 + expected / 1000, "{q}: {got}, not {expected}");
    }
    assert_eq!(all.service.quantile(0.9999), all.service.quantile(0.5), "the service saw nothing of it");
    assert_eq!(all.completion.count(), 6000);
}

#[test]
fn an_hour_holds_as_much_as_a_minute() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    let mut most = Vec::new();
    // Twenty a second; one in a hundred is never heard by one of its recipients.
    for id in 0..72_000 {
        let at = BEGAN + 50 * id * MS;
        say(&mut recorder, id, id % 3, at, at);
        hear(&mut recorder, id, (id + 1) % 3, at + 10 * MS);
        if id % 100 != 0 {
            hear(&mut recorder, id, (id + 2) % 3, at + 20 * MS);
        }
        recorder.tick(at, None);
        if id % 12_000 == 11_999 {
            most.push(recorder.held());
        }
    }
    let first = most[0];
    for held in &most {
        assert_eq!((held.messages, held.pairs), (first.messages, first.pairs));
        assert_eq!(held.dense, first.dense);
    }
    // Those of the last minute that wait for their time to be up: twelve, three seats each.
    assert!(first.pairs <= 13 * 3, "{first:?}");
    let recorded = recorder.finish(&scenario, BEGAN + 3_600_000 * MS);
    assert_eq!((recorded.messages.lost, recorded.messages.delivered), (720, 144_000 - 720));
}

#[test]
fn what_arrives_after_its_time_is_lost_and_late() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    say(&mut recorder, 0, 0, BEGAN, BEGAN);
    hear(&mut recorder, 0, 1, BEGAN + 10 * MS);
    assert!(!recorder.is_settled());
    recorder.tick(BEGAN + 61_000 * MS, None);
    assert!(recorder.is_settled(), "nobody waits any longer");
    hear(&mut recorder, 0, 2, BEGAN + 62_000 * MS);
    hear(&mut recorder, 0, 1, BEGAN + 62_000 * MS);
    let messages = recorder.finish(&scenario, BEGAN + 70_000 * MS).messages;
    assert_eq!((messages.delivered, messages.lost, messages.late), (1, 1, 1));
    assert_eq!((messages.duplicated, messages.expected_deliveries), (1, 2));
}

#[test]
fn who_has_left_is_excused_and_who_comes_later_is_not_expected() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    say(&mut recorder, 0, 0, BEGAN, BEGAN);
    hear(&mut recorder, 0, 1, BEGAN + 10 * MS);
    recorder.on(Seen::Gone { client: 2, at: BEGAN + 11 * MS, is_abrupt: true });
    assert!(recorder.is_settled());
    say(&mut recorder, 1, 0, BEGAN + 20 * MS, BEGAN + 20 * MS);
    hear(&mut recorder, 1, 1, BEGAN + 30 * MS);
    recorder.on(Seen::Connected { client: 2, at: BEGAN + 35 * MS, is_resumed: false });
    recorder.on(Seen::Present { client: 2, at: BEGAN + 40 * MS });
    hear(&mut recorder, 1, 2, BEGAN + 41 * MS);
    say(&mut recorder, 2, 0, BEGAN + 50 * MS, BEGAN + 50 * MS);
    hear(&mut recorder, 2, 1, BEGAN + 60 * MS);
    assert!(!recorder.is_settled(), "it is in again");
    let messages = recorder.finish(&scenario, BEGAN + 1000 * MS).messages;
    assert_eq!((messages.excused, messages.delivered, messages.lost), (1, 3, 1));
    assert_eq!((messages.expected_deliveries, messages.corrupted, messages.duplicated), (4, 0, 0));
}

#[test]
fn connecting_that_never_ends_is_infinitely_long() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    recorder.on(Seen::Connecting { client: 0, at: Timestamp::ZERO });
    recorder.on(Seen::Connecting { client: 1, at: Timestamp::ZERO });
    recorder.on(Seen::Connected { client: 1, at: Timestamp::ZERO + 7 * MS, is_resumed: false });
    let connect = recorder.finish(&scenario, BEGAN).connect;
    assert_eq!((connect.count(), connect.lost()), (2, 1));
    assert!(connect.quantile(0.5).is_some_and(|us| us.abs_diff(7_000) <= 7), "three digits");
}

#[test]
fn an_attempt_to_connect_that_the_end_cuts_off_is_not_counted() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    recorder.on(Seen::Connecting { client: 1, at: BEGAN });
    recorder.on(Seen::Connected { client: 1, at: BEGAN + 80 * MS, is_resumed: false });
    recorder.on(Seen::Connecting { client: 0, at: BEGAN + 100 * MS });
    let recorded = recorder.finish(&scenario, BEGAN + 130 * MS);
    assert_eq!((recorded.connect.count(), recorded.connect.lost()), (1, 0));
    assert!(recorded.warnings.iter().any(|warning| warning.starts_with("1 attempts to connect")));
}

#[test]
fn who_hears_what_was_said_while_it_was_away_is_no_duplicate_however_much_that_is() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    recorder.on(Seen::Gone { client: 2, at: BEGAN, is_abrupt: true });
    for id in 0..100_000 {
        let at = BEGAN + id * MS / 100;
        say(&mut recorder, id, 0, at, at);
        hear(&mut recorder, id, 1, at + MS);
    }
    let back = BEGAN + 2000 * MS;
    recorder.on(Seen::Present { client: 2, at: back });
    (0..100_000).for_each(|id| hear(&mut recorder, id, 2, back + MS));
    let messages = recorder.finish(&scenario, back + 2 * MS).messages;
    assert_eq!((messages.duplicated, messages.late, messages.corrupted), (0, 0, 0));
    assert_eq!((messages.delivered, messages.expected_deliveries), (100_000, 100_000));
}

#[test]
fn one_lost_message_keeps_no_others_in_memory() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    say(&mut recorder, 0, 0, BEGAN, BEGAN);
    for id in 1..50_000 {
        let at = BEGAN + id * MS;
        say(&mut recorder, id, 0, at, at);
        hear(&mut recorder, id, 1, at + MS);
        hear(&mut recorder, id, 2, at + MS);
    }
    assert!(recorder.held().messages < 10_000, "{:?}", recorder.held());
    hear(&mut recorder, 0, 1, BEGAN + 55_000 * MS);
    recorder.tick(BEGAN + 61_000 * MS, None);
    let messages = recorder.finish(&scenario, BEGAN + 62_000 * MS).messages;
    assert_eq!((messages.lost, messages.delivered), (1, 2 * 50_000 - 1));
}

/// Over our own transport, which tells of waits.
fn telling(scenario: &Scenario) -> Recorder {
    let cast = Arc::new(Cast::new(scenario, String::new()));
    let mut recorder = Recorder::new(scenario, cast, Ok(()));
    recorder.begin(BEGAN);
    recorder
}

fn waited(message: u32, wait: Wait) -> Waited {
    Waited { msg_id: format!("c0-{message}").as_str().into(), wait }
}

#[test]
fn a_file_is_done_with_when_it_was_heard_and_is_not_taken_apart() {
    let scenario = scenario();
    let mut recorder = telling(&scenario);
    let (target, intended) = (Target::File(0), BEGAN + 1500 * MS);
    recorder.on(Seen::Intent(Intent { id: 0, workload: 0, sender: 0, target, intended, phase: 1, size: 40 }));
    recorder.on(Seen::Submitted { message: 0, at: intended });
    recorder.on(Seen::Acked { message: 0, at: intended + MS });
    hear(&mut recorder, 0, 1, intended + 2 * MS);
    hear(&mut recorder, 0, 2, intended + 3 * MS);
    recorder.tick(BEGAN + 2000 * MS, None);
    assert_eq!(recorder.ended_intervals(1, BEGAN + 2000 * MS).last().map(|row| row.under_way), Some(0));
    let recorded = recorder.finish(&scenario, BEGAN + 3000 * MS);
    assert_eq!((recorded.messages.delivered, recorded.all.waiting.count()), (2, 0));
    assert_eq!(recorded.causes.summarise().count, 0);
}

#[test]
fn an_exemplar_tells_what_happened_to_its_message_on_both_hops() {
    let scenario = scenario();
    let mut recorder = telling(&scenario);
    let at = |ms: u32| BEGAN + 1500 * MS + ms * MS;
    say(&mut recorder, 0, 0, at(0), at(0));
    recorder.on_named(0, 17);
    let step = |ms, packet, kind| trace::Step { at: at(ms), packet, kind };
    let delays = Delays { window: 10 * MS, ..Delays::default() };
    recorder.on_client_wait(0, &waited(17, Wait::Sent(delays)));
    recorder.on_server_wait(Some(0), &waited(17, Wait::Order { span: Duration::ZERO, at: at(60) }));
    let steps = [
        step(60, 8, trace::StepKind::Sent),
        step(200, 8, trace::StepKind::Lost(LossReason::TimeThreshold)),
        step(201, 9, trace::StepKind::Retransmitted(LossReason::TimeThreshold)),
        step(350, 9, trace::StepKind::Acked),
    ];
    recorder.on_server_wait(Some(1), &waited(17, Wait::Steps(steps.into())));
    hear(&mut recorder, 0, 1, at(300));
    hear(&mut recorder, 0, 2, at(110));
    recorder.on_client_wait(1, &waited(17, Wait::Order { span: 50 * MS, at: at(300) }));
    for client in [1, 2] {
        recorder.on_server_wait(Some(client), &waited(17, Wait::Sent(Delays::default())));
    }
    let exemplars = recorder.finish(&scenario, at(1000)).exemplars;
    let told: Vec<_> =
        exemplars[0].steps.iter().map(|step| (step.at_us / 1000 - 1500, step.hop, step.what)).collect();
    let (up, down) = (Hop::Up, Hop::Down);
    assert_eq!(exemplars[0].recipient, 1);
    assert_eq!(
        told,
        [
            (0, up, StepKind::HeldByWindow),
            (1, up, StepKind::Acked),
            (10, up, StepKind::Sent),
            (60, up, StepKind::Received),
            (60, up, StepKind::Released),
            (60, down, StepKind::Sent),
            (200, down, StepKind::Lost),
            (201, down, StepKind::Retransmitted),
            (250, down, StepKind::Received),
            (250, down, StepKind::HeldBack),
            (300, down, StepKind::Released),
            (350, down, StepKind::Acked),
        ]
    );
    let lost = &exemplars[0].steps[6];
    assert_eq!((lost.packet, lost.why), (Some(8), Some(Why::TimeThreshold)));
    assert_eq!(exemplars[0].steps[9].for_us, Some(50_000));
    assert_eq!(exemplars[0].steps[5].packet, Some(8), "what left first is named by its first trouble");
}

#[test]
fn what_the_generator_never_came_to_is_infinitely_late() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    for id in 0..100 {
        let intended = BEGAN + 1500 * MS;
        if id < 90 {
            say(&mut recorder, id, 0, intended, intended);
        } else {
            let target = Target::Room(0);
            recorder.on(Seen::Intent(Intent {
                id,
                workload: 0,
                sender: 0,
                target,
                intended,
                phase: 1,
                size: 40,
            }));
        }
    }
    let recorded = recorder.finish(&scenario, BEGAN + 3000 * MS);
    assert_eq!((recorded.asked, recorded.submitted, recorded.refused), (100, 90, 0));
    assert_eq!((recorded.lag.count(), recorded.lag.lost()), (100, 10));
}

#[test]
fn what_arrives_in_the_drain_was_not_carried_during_the_load() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    // Nine seconds of load after the first; the queue needs twice as long.
    for id in 0..90 {
        let intended = BEGAN + 1000 * MS + 100 * id * MS;
        say(&mut recorder, id, 0, intended, intended);
    }
    for id in 0..90 {
        let at = BEGAN + 1000 * MS + 200 * id * MS;
        hear(&mut recorder, id, 1, at);
        hear(&mut recorder, id, 2, at);
    }
    let recorded = recorder.finish(&scenario, BEGAN + 30_000 * MS);
    assert_eq!((recorded.messages.delivered, recorded.in_load.delivered), (180, 90));
    assert_eq!((recorded.in_load.sent, recorded.in_load.delivered_bytes), (90, 90 * 40));
}

#[test]
fn a_comeback_that_has_just_begun_is_waited_for_and_in_the_end_neither_made_nor_lost() {
    let scenario = scenario();
    let mut recorder = recorder(&scenario);
    for client in 0..3 {
        recorder.on(Seen::Connecting { client, at: Timestamp::ZERO });
        recorder.on(Seen::Connected { client, at: Timestamp::ZERO + 7 * MS, is_resumed: false });
    }
    for client in 0..3 {
        recorder.on(Seen::Gone { client, at: BEGAN + 10 * MS, is_abrupt: true });
        recorder.on(Seen::Connecting { client, at: BEGAN + 20_000 * MS * client });
    }
    assert!(!recorder.is_settled(), "three are on their way back");
    recorder.on(Seen::Connected { client: 0, at: BEGAN + 30 * MS, is_resumed: true });
    // Without having left: the server does not know it any more.
    recorder.on(Seen::Connected { client: 0, at: BEGAN + 40 * MS, is_resumed: false });
    let recorded = recorder.finish(&scenario, BEGAN + 40_005 * MS);
    assert_eq!((recorded.connect.count(), recorded.connect.lost()), (5, 1), "client 1 takes too long");
    let sessions = recorded.sessions;
    assert_eq!((sessions.comebacks, sessions.resumed, sessions.forgotten, sessions.open), (1, 1, 1, 1));
}
