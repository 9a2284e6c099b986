//! Every kind of workload, end to end, in both drivers: who heard what, who was excused, what came back.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use loadgen::backend::{RunPlan, RunRecord, ServerAt, live, sim};
use loadgen::result::Messages;
use loadgen::scenario::{
    Churn, Driver, Pace, Popularity, Rooms, Scenario, Seats, Size, SpanLaw, Transport, WorkloadKind, load_str,
};
use netem_proxy::profile::LossModel;
use units::{Probability, Seed};

/// Ten clients in two rooms behind a link of 10 ms that loses 2 %, and one workload of 4/s each for three seconds.
fn scenario(kind: WorkloadKind) -> Scenario {
    let text = "schema = 1\nscenario.name = \"t\"\n\
        link.l.both = { loss = \"2%\", delay = \"10ms\" }\n\
        clients = [{ name = \"g\", count = 10, link = \"l\", rooms = { size = 5 } }]\n\
        workload = [{ name = \"w\", arrival = { rate = \"4/s\" } }]\n\
        phase = [{ name = \"steady\", duration = \"3s\" }, { name = \"drain\", drain = \"20s\" }]";
    let mut scenario = load_str("t.toml", text, &[]).unwrap_or_else(|error| panic!("{error}")).scenario;
    scenario.workloads[0].kind = kind;
    scenario
}

fn run(scenario: &Scenario, driver: Driver) -> RunRecord {
    let plan = RunPlan { scenario: scenario.clone(), seed: Seed::root(1), server: ServerAt::InProcess };
    let interrupt = AtomicBool::new(false);
    let record = match driver {
        Driver::Virtual => sim::run(&plan, &interrupt, &mut |_| ControlFlow::Continue(())),
        Driver::Real => live::run(&plan, &interrupt, &mut |_| ControlFlow::Continue(())),
    };
    let record = record.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(record.failures, Vec::<String>::new(), "{driver:?}");
    // Who heard what does not depend on how busy the machine is; how soon does, and nothing here asks for that.
    let other = record.invalid.iter().filter(|reason| !reason.contains("free the machine"));
    assert_eq!(other.count(), 0, "{driver:?}: {:?}", record.invalid);
    record
}

/// Nothing was invented, repeated, overtaken or damaged, and every pair has one end.
fn is_sound(messages: &Messages) {
    let Messages { duplicated, reordered, corrupted, late, .. } = *messages;
    assert_eq!((duplicated, reordered, corrupted, late), (0, 0, 0, 0), "{messages:?}");
    assert_eq!(messages.sent + messages.throttled, messages.intended, "{messages:?}");
}

fn all_arrive(record: &RunRecord) {
    let messages = &record.recorded.messages;
    is_sound(messages);
    assert!(messages.sent > 60, "{messages:?}");
    assert_eq!((messages.lost, messages.throttled, messages.excused), (0, 0, 0), "{messages:?}");
    assert_eq!((messages.acked, messages.delivered), (messages.sent, messages.expected_deliveries));
}

const BOTH: [Driver; 2] = [Driver::Virtual, Driver::Real];

#[test]
fn rooms_reach_their_members_and_broadcasts_everybody() {
    for (kind, hearers) in [(WorkloadKind::Room, 4), (WorkloadKind::Private, 1), (WorkloadKind::Broadcast, 9)]
    {
        for driver in BOTH {
            let record = run(&scenario(kind), driver);
            all_arrive(&record);
            let messages = &record.recorded.messages;
            assert_eq!(messages.expected_deliveries, messages.sent * hearers, "{kind:?}, {driver:?}");
        }
    }
}

#[test]
fn who_is_in_several_popular_rooms_hears_each_line_once() {
    let mut scenario = scenario(WorkloadKind::Room);
    scenario.clients[0].rooms =
        Rooms { seats: Seats::Count(5), per_client: 2, popularity: Popularity::Zipf { exponent: 1.1 } };
    for driver in BOTH {
        all_arrive(&run(&scenario, driver));
    }
}

#[test]
fn a_ping_is_heard_by_its_sender_after_a_round_trip() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Quic] {
        let mut scenario = scenario(WorkloadKind::Ping);
        scenario.transport = transport;
        for driver in BOTH {
            let record = run(&scenario, driver);
            let messages = &record.recorded.messages;
            is_sound(messages);
            let (expected, delivered) = (messages.expected_deliveries, messages.delivered);
            assert_eq!((expected, delivered), (messages.sent, messages.sent), "{transport:?}, {driver:?}");
            // Twice 10 ms.
            let (fastest, _) = record.recorded.all.delivery.range().unwrap();
            assert!(fastest >= 20_000, "{transport:?}, {driver:?}: {fastest} us");
        }
    }
}

#[test]
fn who_asks_for_the_members_of_its_room_is_told() {
    for driver in BOTH {
        let record = run(&scenario(WorkloadKind::Presence), driver);
        all_arrive(&record);
        let messages = &record.recorded.messages;
        assert_eq!(messages.expected_deliveries, messages.sent);
    }
}

#[test]
fn idle_clients_stay_connected_and_say_nothing() {
    let mut scenario = scenario(WorkloadKind::Idle);
    scenario.workloads[0].pace = Pace::Still;
    for driver in BOTH {
        let record = run(&scenario, driver);
        assert_eq!(record.recorded.messages, Messages::default());
        assert_eq!(record.recorded.connect.count(), 10);
        let span = record.ended.since(record.began);
        assert!(span >= Duration::from_secs(3), "{span:?}");
    }
}

#[test]
fn a_file_arrives_whole_in_many_pieces() {
    let mut scenario = scenario(WorkloadKind::File);
    let Pace::Open { per_second, .. } = &mut scenario.workloads[0].pace else { panic!("an open loop") };
    *per_second = 0.7;
    scenario.workloads[0].size = Size::Uniform { min: 1000, max: 300_000 };
    // Lines of the same people beside them: bulk holds them up no more than its pieces on the line do.
    let mut chat = scenario.workloads[0].clone();
    (chat.name, chat.kind, chat.size) = ("chat".to_owned(), WorkloadKind::Room, Size::Fixed(100));
    scenario.workloads.push(chat);
    for transport in [Transport::Udp, Transport::Tcp] {
        scenario.transport = transport;
        for driver in BOTH {
            let record = run(&scenario, driver);
            let messages = &record.recorded.messages;
            is_sound(messages);
            assert_eq!(messages.delivered, messages.sent * 4, "{transport:?}, {driver:?}: {messages:?}");
            let [files, chat] = &record.recorded.workloads[..] else { panic!("two workloads") };
            assert!(files.messages.sent > 5 && chat.messages.sent > 5);
            // Goodput counts the bytes of files.
            assert!(record.recorded.in_load.delivered_bytes > files.messages.delivered * 50_000);
        }
    }
}

fn churning(abrupt: f64) -> Scenario {
    let mut scenario = scenario(WorkloadKind::Room);
    let mut churn = scenario.workloads[0].clone();
    (churn.name, churn.kind, churn.pace) = ("churn".to_owned(), WorkloadKind::Churn, Pace::Still);
    churn.churn = Some(Churn {
        session: SpanLaw::Exponential { mean: Duration::from_secs(1) },
        off: SpanLaw::Fixed(Duration::from_millis(300)),
        abrupt: Probability::new(abrupt).expect("a probability"),
    });
    // All of the first room and three of the second come and go; the other two stay and hear them.
    let stayers = scenario.clients[0].clone();
    scenario.clients[0].count = 8;
    scenario.clients.push(stayers);
    (scenario.clients[1].name, scenario.clients[1].count) = ("stayers".to_owned(), 2);
    scenario.workloads[0].groups = vec![0, 1];
    churn.groups = vec![0];
    scenario.workloads.push(churn);
    scenario.phases[0].duration = Duration::from_secs(6);
    scenario
}

fn reconnects(record: &RunRecord) -> u64 {
    record.recorded.clients.iter().map(|client| client.reconnects).sum()
}

#[test]
fn who_leaves_politely_loses_nothing_and_comes_back_anew() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for driver in BOTH {
            let mut scenario = churning(0.0);
            scenario.transport = transport;
            // A goodbye that is lost leaves a name behind for 20 s; here none is.
            scenario
                .links
                .values_mut()
                .for_each(|link| (link.up.loss, link.down.loss) = (LossModel::None, LossModel::None));
            let record = run(&scenario, driver);
            let messages = &record.recorded.messages;
            is_sound(messages);
            assert_eq!((messages.lost, messages.failed), (0, 0), "{transport:?}, {driver:?}: {messages:?}");
            let ended = messages.delivered + messages.excused;
            assert!(ended > 300 && messages.delivered == messages.expected_deliveries, "{messages:?}");
            // Ten first connects, and more: eight clients that leave about every 1.4 s.
            assert!(record.recorded.connect.count() > 20, "{transport:?}, {driver:?}");
            // Nobody is turned away, and the drain waits for those who are on their way back.
            assert_eq!(record.recorded.connect.lost(), 0, "{transport:?}, {driver:?}");
            let sessions = record.recorded.sessions;
            assert_eq!(sessions.comebacks + 10, record.recorded.connect.count(), "{transport:?}, {driver:?}");
            assert_eq!((sessions.resumed, sessions.forgotten), (0, 0), "{transport:?}, {driver:?}");
            assert_eq!(reconnects(&record), 0, "{transport:?}, {driver:?}: nothing is resumed");
        }
    }
}

#[test]
fn who_is_cut_off_resumes_and_those_who_stayed_lose_nothing() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for driver in BOTH {
            let mut scenario = churning(1.0);
            scenario.transport = transport;
            let record = run(&scenario, driver);
            let messages = &record.recorded.messages;
            is_sound(messages);
            assert_eq!(messages.lost, 0, "{transport:?}, {driver:?}: {messages:?}");
            assert!(messages.excused > 0, "{transport:?}, {driver:?}: {messages:?}");
            let connects = &record.recorded.connect;
            let again = connects.count() - connects.lost() - 10;
            assert!(again > 10, "{transport:?}, {driver:?}");
            assert_eq!(
                reconnects(&record),
                again,
                "{transport:?}, {driver:?}: every comeback is a resumption"
            );
            let sessions = record.recorded.sessions;
            assert_eq!((sessions.comebacks, sessions.forgotten), (again, 0), "{transport:?}, {driver:?}");
        }
    }
}

#[test]
fn virtual_churn_is_the_same_for_a_seed() {
    let runs = [0, 1].map(|_| run(&churning(0.5), Driver::Virtual));
    let facts =
        |record: &RunRecord| (record.recorded.messages.clone(), record.recorded.all.clone(), record.ended);
    assert_eq!(facts(&runs[0]), facts(&runs[1]));
}

#[test]
fn a_slow_reader_hears_all_and_late() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for driver in BOTH {
            let mut scenario = scenario(WorkloadKind::Room);
            scenario.transport = transport;
            let prompt = run(&scenario, driver).recorded;
            // 16 lines a second, and 40 ms for each: two thirds of its time it does not read.
            scenario.clients[0].stall = Duration::from_millis(40);
            let slow = run(&scenario, driver);
            all_arrive(&slow);
            let mean =
                |recorded: &loadgen::measure::Recorded| recorded.all.delivery.mean().unwrap_or_default();
            let (prompt, slow) = (mean(&prompt), mean(&slow.recorded));
            assert!(slow > prompt + 10_000.0, "{transport:?}, {driver:?}: {prompt} and {slow} us");
        }
    }
}

#[test]
fn who_may_have_one_message_under_way_is_throttled_on_a_long_path() {
    let mut scenario = scenario(WorkloadKind::Room);
    let Pace::Open { per_second, .. } = &mut scenario.workloads[0].pace else { panic!("an open loop") };
    *per_second = 100.0;
    scenario.workloads[0].max_in_flight = Some(1);
    for driver in BOTH {
        let messages = run(&scenario, driver).recorded.messages;
        is_sound(&messages);
        assert!(messages.throttled > messages.sent / 2, "{driver:?}: {messages:?}");
        assert_eq!(messages.delivered, messages.sent * 4, "{driver:?}: {messages:?}");
    }
}

#[test]
fn what_a_relay_has_not_is_refused_by_name() {
    let mut scenario = churning(0.0);
    scenario.transport = Transport::Quic;
    let plan = RunPlan { scenario, seed: Seed::root(1), server: ServerAt::InProcess };
    let refused = sim::run(&plan, &AtomicBool::new(false), &mut |_| ControlFlow::Continue(())).map(|_| ());
    let text = refused.expect_err("a relay has no churn").to_string();
    assert!(text.starts_with("workload.churn.kind: quic has no churn: "), "{text}");
}
