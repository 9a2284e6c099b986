//! Throughput, queue and fairness: ours, not the draft's.

use std::time::Duration;

use super::describe;
use super::link::{Link, MSS, Path, Policer, config, mbits};
use crate::config::TransportConfig;
use crate::congestion::{State, build};

/// Goodput in thousandths of what the link can carry after loss, and the mean queue in thousandths of the
/// bandwidth-delay product, over 40 s from the 20th on.
fn steady(path: Path, config: &TransportConfig) -> (u64, u64, Link) {
    let bdp = path.bdp();
    let usable = path.rate.bits_per_second() / 1000 * (1000 - path.loss);
    let mut link = Link::with_config(path, config);
    link.run_for(Duration::from_secs(20));
    link.reset_measures();
    link.run_for(Duration::from_secs(40));
    (link.goodput(0) / (usable / 1000), link.mean_queue() * 1000 / bdp, link)
}

fn lossy(loss: u64) -> Path {
    Path { loss, ..Path::new(100, 50, 1000) }
}

/// 100 Mbit/s, 50 ms, one bandwidth-delay product of buffer: the goal is 95 % of the capacity that loss leaves, with a
/// mean queue of at most 0.3 bandwidth-delay products.
#[test]
fn random_loss_takes_no_more_than_itself() {
    for loss in [0, 10, 50, 100] {
        for seed in 1..=3 {
            let (goodput, queue, link) = steady(lossy(loss), &TransportConfig { seed, ..config() });
            println!("loss {loss}‰ seed {seed}: goodput {goodput}‰, queue {queue}‰ of the BDP");
            assert!(goodput >= 950, "loss {loss} seed {seed}: {goodput}‰: {}", describe(&link));
            assert!(queue <= 300, "loss {loss} seed {seed}: {queue}‰");
        }
    }
}

/// Behind the bottleneck a lost packet has used its share of the link already, and pacing at the rate that *arrives*
/// leaves the link idle for as much again: (1 - p) of what loss leaves, less the usual few percent.
#[test]
fn loss_behind_the_bottleneck_costs_its_share_once_more() {
    for loss in [10, 50, 100] {
        let path = Path { loss_behind_queue: true, ..lossy(loss) };
        let (goodput, queue, link) = steady(path, &TransportConfig { seed: 1, ..config() });
        println!("loss {loss}‰ behind the queue: goodput {goodput}‰, queue {queue}‰ of the BDP");
        assert!(goodput >= 950 * (1000 - loss) / 1000, "{goodput}‰: {}", describe(&link));
        assert!(queue <= 300);
    }
}

/// What the floor is for: without it, the same loss takes most of the rate.
#[test]
fn without_the_floor_five_percent_of_loss_take_most_of_the_rate() {
    let strict = TransportConfig { seed: 1, loss_floor_max_permille: 0, ..config() };
    let (goodput, _, link) = steady(lossy(50), &strict);
    println!("5 % loss, the draft to the letter: {goodput}‰");
    assert!(goodput < 500, "{goodput}‰");
    assert_eq!(link.bbr().loss_floor.permille(), 0);
}

#[test]
fn a_small_share_of_loss_does_not_end_startup() {
    let mut link = Link::new(Path { loss: 5, ..Path::new(100, 50, 4000) }, 1);
    link.run_until_state(State::Drain);
    assert!(link.bbr().max_bw.get() >= 97_000_000, "{}", describe(&link));
}

/// Two flows in one queue, the second ten seconds later.
#[test]
fn two_flows_share_fairly() {
    let mut link = Link::new(Path::new(50, 40, 1000), 1);
    link.run_for(Duration::from_secs(10));
    link.add_bbr(2);
    link.run_for(Duration::from_secs(30));
    link.reset_measures();
    link.run_for(Duration::from_secs(60));
    let (a, b) = (link.goodput(0) as f64, link.goodput(1) as f64);
    let jain = (a + b) * (a + b) / (2.0 * (a * a + b * b));
    println!("two BBR flows: {:.1} and {:.1} Mbit/s, Jain {jain:.3}", a / 1e6, b / 1e6);
    assert!(jain >= 0.95, "{a} and {b}: {jain}");
    assert!(a + b >= 46e6, "{a} and {b}");
}

/// Coexistence (section 5.3.3.5.1): a Reno flow keeps a useful share of a bottleneck of the public internet.
#[test]
fn a_reno_flow_is_not_starved() {
    let mut link = Link::new(Path::new(25, 30, 1000), 1);
    link.add_other(build(&config()));
    link.run_for(Duration::from_secs(20));
    link.reset_measures();
    link.run_for(Duration::from_secs(60));
    let (bbr, reno) = (link.goodput(0), link.goodput(1));
    println!("BBR {bbr}, Reno {reno} bit/s, floor {}", link.bbr().loss_floor.permille());
    assert!(reno >= 25_000_000 / 4, "Reno {reno}, BBR {bbr}");
    assert!(bbr >= 25_000_000 / 10, "Reno {reno}, BBR {bbr}");
    assert_eq!(link.bbr().loss_floor.permille(), 0, "a full queue is not a radio link");
}

/// Marks above 30 % of the buffer: the probe ends before the queue is full, so nothing is lost.
#[test]
fn marks_end_a_probe_before_the_queue_overflows() {
    let mut marking = Path::new(100, 50, 1000);
    marking.mark_above = Some(marking.buffer * 3 / 10);
    let mut link = Link::new(marking, 1);
    link.run_until_state(State::ProbeBwCruise);
    // Startup did overflow the queue, and its last losses are noticed a little later.
    link.run_for(Duration::from_secs(1));
    link.reset_measures();
    let mut highest = 0;
    let end = link.now + Duration::from_secs(30);
    while link.now < end {
        link.step();
        highest = highest.max(link.queued);
    }
    assert_eq!(link.flows[0].packets_lost, 0);
    assert!(highest < link.path.buffer * 3 / 4, "{highest} of {}", link.path.buffer);
    assert!(link.goodput(0) >= 90_000_000, "{}: {}", link.goodput(0), describe(&link));
}

#[test]
fn a_new_path_is_learned_from_the_beginning() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.run_until_state(State::ProbeBwCruise);
    link.new_path();
    let bbr = link.bbr();
    assert_eq!((bbr.state, bbr.cwnd, bbr.max_bw.get()), (State::Startup, 10 * MSS, 0));
    link.run_until(10, "the bandwidth is found", |link| link.bbr().max_bw.get() >= 98_000_000);
}

/// On small paths a round is a handful of packets, so the floor takes longer to prove.
#[test]
fn small_paths_learn_their_floor_too() {
    for (mbit, rtt, least) in [(10, 20, 900), (10, 50, 920), (2, 50, 750)] {
        let path = Path { loss: 50, ..Path::new(mbit, rtt, 1000) };
        let (goodput, queue, link) = steady(path, &TransportConfig { seed: 1, ..config() });
        println!("{mbit} Mbit/s, {rtt} ms, loss 50‰: goodput {goodput}‰, queue {queue}‰ of the BDP");
        assert!(goodput >= least && queue <= 300, "{goodput}‰, {queue}‰: {}", describe(&link));
    }
}

/// What drops because of our rate must be treated as the draft does: with and without the floor the same comes out.
#[test]
fn the_floor_changes_little_at_policers_and_shallow_buffers() {
    let policed =
        |mbit, burst| Path { policer: Some(Policer::new(mbits(mbit), burst)), ..Path::new(100, 50, 1000) };
    let paths = [policed(20, 20_000), policed(20, 500_000), policed(80, 1_000_000), Path::new(50, 40, 20)];
    for path in paths {
        let shares = [0, 200].map(|loss_floor_max_permille| {
            let config = TransportConfig { seed: 1, loss_floor_max_permille, ..config() };
            let (goodput, _, link) = steady(path.clone(), &config);
            let lost = link.flows[0].packets_lost * MSS;
            (goodput, lost * 1000 / (link.flows[0].delivered + lost))
        });
        println!("{:?} buffer {}: {shares:?}", path.policer, path.buffer);
        let [(strict, strict_lost), (goodput, lost)] = shares;
        assert!(goodput * 100 >= strict * 95, "{shares:?} on {path:?}");
        assert!(lost <= strict_lost + 10, "{shares:?} on {path:?}");
    }
}
