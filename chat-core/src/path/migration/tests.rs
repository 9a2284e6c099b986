//! Moves, attempted thefts, and a random walk through all of it.

use proptest::prelude::*;
use units::{Rng, Seed};

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

const RTT: Duration = Duration::from_millis(100);

struct World {
    paths: Paths,
    rng: Rng,
    old: SocketAddr,
    new: SocketAddr,
}

impl World {
    fn new() -> Self {
        let (old, new) = (address("10.0.0.1:4000"), address("10.0.0.1:5000"));
        Self { paths: Paths::new(old), rng: Seed::root(1).rng(), old, new }
    }

    fn news(&mut self, ms: u64, from: SocketAddr) {
        self.paths.on_datagram(from, 200);
        self.paths.on_news(at(ms), from, 200, Some(RTT), &mut self.rng);
    }

    fn challenges(&mut self) -> Vec<Challenge> {
        std::iter::from_fn(|| self.paths.poll_challenge()).collect()
    }

    fn events(&mut self) -> Vec<PathEvent> {
        std::iter::from_fn(|| self.paths.poll_event()).collect()
    }
}

#[test]
fn a_peer_that_moved_is_followed_when_it_has_answered() {
    let mut world = World::new();
    let (old, new) = (world.old, world.new);
    world.news(0, new);
    let challenges = world.challenges();
    assert_eq!(challenges.iter().map(|challenge| challenge.to).collect::<Vec<_>>(), [new, old]);
    assert_ne!(challenges[0].data, challenges[1].data);
    assert_eq!(world.paths.active(), old, "nothing moves before the answer");
    // The peer has one socket: both answers come from the new address.
    world.paths.on_response(at(100), new, challenges[1].data);
    world.paths.on_response(at(100), new, challenges[0].data);
    assert_eq!((world.paths.active(), world.paths.poll_timeout()), (old, Some(at(150))));
    world.paths.handle_timeout(at(150));
    assert_eq!(world.paths.active(), new);
    let events = world.events();
    assert_eq!(events, [PathEvent::Moved { from: old, to: new }]);
    assert!(events[0].is_same_host());
    assert_eq!(world.paths.poll_timeout(), None);
}

#[test]
fn another_host_is_another_path() {
    let moved = PathEvent::Moved { from: address("10.0.0.1:1"), to: address("10.0.0.2:1") };
    assert!(!moved.is_same_host());
}

#[test]
fn a_copied_datagram_steals_nothing() {
    let mut world = World::new();
    let (old, thief) = (world.old, address("192.0.2.1:9"));
    world.news(0, thief);
    let challenges = world.challenges();
    // The thief reads the challenge and answers first; the peer answers from where it is.
    world.paths.on_response(at(60), thief, challenges[0].data);
    world.paths.on_response(at(100), old, challenges[1].data);
    world.paths.handle_timeout(at(150));
    assert_eq!(world.paths.active(), old);
    assert_eq!(world.events(), [PathEvent::Refuted { to: thief }]);
    world.news(200, thief);
    assert!(world.challenges().is_empty(), "quiet after an attempt");
    world.news(1200, thief);
    assert_eq!(world.challenges().len(), 2);
}

#[test]
fn only_the_challenged_address_can_answer() {
    let mut world = World::new();
    let (new, elsewhere) = (world.new, address("192.0.2.1:9"));
    world.news(0, new);
    let data = world.challenges()[0].data;
    world.paths.on_response(at(100), elsewhere, data);
    world.paths.on_response(at(100), new, [0; 8]);
    world.paths.handle_timeout(at(190));
    assert_eq!((world.paths.active(), world.events()), (world.old, vec![]));
}

#[test]
fn lost_challenges_are_sent_again_and_then_given_up() {
    let mut world = World::new();
    world.news(0, world.new);
    let mut sent = Vec::new();
    while let Some(next) = world.paths.poll_timeout() {
        sent.extend(world.challenges().iter().filter(|challenge| challenge.to == world.new).map(|_| next));
        world.paths.handle_timeout(next);
    }
    // After 0, 200, 600, 1,400 and 2,400 ms; `next` is when the following round is due.
    assert_eq!(sent, [200, 600, 1400, 2400, 3400].map(at));
    assert_eq!(world.events(), [PathEvent::Failed { to: world.new }]);
    world.news(4000, world.new);
    assert_eq!(world.challenges().len(), 2, "news begin anew");
}

#[test]
fn a_peer_heard_from_where_it_was_has_not_moved() {
    let mut world = World::new();
    world.news(0, world.new);
    world.news(10, world.old);
    assert_eq!(world.events(), [PathEvent::Failed { to: world.new }]);
    assert_eq!(world.paths.poll_timeout(), None);
}

#[test]
fn an_unproven_address_gets_three_times_what_it_sent() {
    let mut world = World::new();
    world.news(0, world.new);
    assert!(world.paths.permit(world.new, 600));
    assert!(!world.paths.permit(world.new, 1));
    world.paths.on_datagram(world.new, 100);
    assert!(world.paths.permit(world.new, 300));
    assert!(!world.paths.permit(address("192.0.2.1:9"), 1), "nobody asked there");
    assert!(world.paths.permit(world.old, 100_000));
}

proptest! {
    /// Whatever comes from wherever: the peer only moves to an address that was challenged and answered itself, and
    /// never after the old address objected.
    #[test]
    fn it_moves_only_where_the_challenge_was_answered(
        seed in any::<u64>(),
        steps in proptest::collection::vec((0u64..300, 0usize..4, 0u8..5), 1..80),
    ) {
        let addresses: Vec<SocketAddr> = (1..=4).map(|n| address(&format!("10.0.0.{n}:1"))).collect();
        let mut paths = Paths::new(addresses[0]);
        let mut rng = Seed::root(seed).rng();
        let mut now = Timestamp::ZERO;
        let mut known: Vec<Challenge> = Vec::new();
        let mut answered: Vec<SocketAddr> = Vec::new();
        let mut sent = [0u64; 4];
        let mut received = [0u64; 4];
        for (wait, who, what) in steps {
            now += Duration::from_millis(wait);
            let from = addresses[who];
            received[who] += 100;
            paths.on_datagram(from, 100);
            match what {
                0 | 1 => paths.on_news(now, from, 100, Some(RTT), &mut rng),
                2 => if let Some(challenge) = known.iter().rev().find(|challenge| challenge.to == from) {
                    answered.push(from);
                    paths.on_response(now, from, challenge.data);
                },
                // Somebody else's challenge.
                3 => if let Some(challenge) = known.iter().rev().find(|challenge| challenge.to != from) {
                    paths.on_response(now, from, challenge.data);
                },
                _ => paths.handle_timeout(now),
            }
            while let Some(challenge) = paths.poll_challenge() {
                let to = addresses.iter().position(|address| *address == challenge.to).unwrap();
                if challenge.to != paths.active() && paths.permit(challenge.to, 150) {
                    sent[to] += 150;
                    known.push(challenge);
                } else if challenge.to == paths.active() {
                    known.push(challenge);
                }
            }
            while let Some(event) = paths.poll_event() {
                if let PathEvent::Moved { to, .. } = event {
                    prop_assert!(answered.contains(&to), "moved to {to}, which never answered");
                    prop_assert_eq!(to, paths.active());
                }
            }
            for who in 0..4 {
                prop_assert!(sent[who] <= 3 * received[who], "amplified to {who}");
            }
            prop_assert!(paths.poll_timeout().is_none_or(|at| at.since(now) <= INTERVAL_MAX));
        }
    }
}
