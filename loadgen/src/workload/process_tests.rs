//! Each process against its law: the first draws of a seed, the mean rate, the spread of gaps and of counts.

use units::Seed;

use super::*;

fn process(arrival: &Arrival, per_second: f64, seed: u64) -> Process {
    Process::new(arrival, per_second, Seed::root(seed).rng())
}

/// In seconds.
fn times(arrival: &Arrival, per_second: f64, seed: u64, until: f64) -> Vec<f64> {
    let mut process = process(arrival, per_second, seed);
    std::iter::from_fn(|| Some(process.next() / NANOS)).take_while(|at| *at < until).collect()
}

/// Arrivals in each of `windows` windows of one length, of one stream.
fn counts(arrival: &Arrival, per_second: f64, window: f64, windows: usize) -> Vec<f64> {
    let mut counts = vec![0.0; windows];
    for at in times(arrival, per_second, 1, window * windows as f64) {
        counts[(at / window) as usize] += 1.0;
    }
    counts
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

fn trace() -> Arrival {
    let times = [5, 5, 20, 100].map(Duration::from_millis).to_vec();
    Arrival::Trace(Arc::new(ArrivalTrace { name: "t".to_owned(), times }))
}

fn seconds(span: u64) -> Duration {
    Duration::from_secs(span)
}

const MMPP: Arrival =
    Arrival::Mmpp { factor: 10.0, calm: Duration::from_millis(900), busy: Duration::from_millis(100) };

#[test]
fn the_first_hundred_draws_of_each_process_never_change() {
    // Golden: a change here means that every published seed gives another schedule. Microseconds, ten a line.
    let laws = [
        ("poisson", Arrival::Poisson),
        ("constant", Arrival::Constant),
        ("gamma(cv 3)", Arrival::Gamma { cv: 3.0 }),
        ("gamma(cv 0.2)", Arrival::Gamma { cv: 0.2 }),
        ("mmpp", MMPP),
        ("burst(7, 2s)", Arrival::Burst { count: 7, every: seconds(2) }),
        ("trace", trace()),
    ];
    let mut text = String::new();
    for (name, arrival) in laws {
        let mut process = process(&arrival, 10.0, 42);
        let drawn: Vec<String> = (0..100).map(|_| format!("{:>9.0}", process.next() / 1e3)).collect();
        text += &format!("{name}\n");
        drawn.chunks(10).for_each(|line| text += &format!("{}\n", line.join(" ")));
    }
    insta::assert_snapshot!("first_draws", text);
}

#[test]
fn gamma_gaps_have_their_mean_and_their_coefficient_of_variation() {
    for cv in [0.2, 1.0, 3.0] {
        let times = times(&Arrival::Gamma { cv }, 100.0, 5, 1000.0);
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let n = gaps.len() as f64;
        // Five standard errors. Of the mean: cv / sqrt(n). Of the variance: sqrt((kurtosis - 1) / n), where a gamma law of
        // shape 1 / cv² has kurtosis 3 + 6 cv²; of its root half of that.
        let off = (mean(&gaps) * 100.0 - 1.0).abs();
        assert!(off < 5.0 * cv / n.sqrt(), "cv {cv}: mean off by {off}");
        let measured = variance(&gaps).sqrt() / mean(&gaps);
        let error = 2.5 * ((2.0 + 6.0 * cv * cv) / n).sqrt() + 5.0 * cv / n.sqrt();
        assert!((measured / cv - 1.0).abs() < error, "cv {cv}: measured {measured}");
    }
}

#[test]
fn gamma_streams_are_stationary_from_the_first_moment() {
    // 20,000 streams: the number of arrivals in the first tenth of a gap is a tenth of one on average, whatever the law.
    // The variance of such a count is at most (1 + cv²) times its mean; four standard errors.
    for cv in [0.2_f64, 3.0] {
        let first = |seed| times(&Arrival::Gamma { cv }, 10.0, seed, 0.01).len() as f64;
        let measured = (0..20_000).map(first).sum::<f64>() / 20_000.0;
        let error = 4.0 * (0.1 * (1.0 + cv * cv) / 20_000.0_f64).sqrt();
        assert!((measured - 0.1).abs() < error, "cv {cv}: {measured} in place of 0.1");
    }
}

#[test]
fn an_mmpp_has_its_mean_rate_and_the_dispersion_of_its_states() {
    // Var N(t) = rate t + 2 v (t / r - (1 - e^(-r t)) / r²), with r the sum of both rates of leaving and v the variance of
    // the rate over time (Fischer and Meier-Hellstern, The MMPP cookbook, Performance Evaluation 18, 1993).
    let (calm, busy, factor, rate) = (0.9, 0.1, 10.0, 100.0);
    let calm_rate = rate / (calm + factor * busy);
    let v = calm * busy * (calm_rate * (factor - 1.0_f64)).powi(2);
    let r: f64 = 1.0 / 0.9 + 1.0 / 0.1;
    let t = 5.0;
    let expected = rate * t + 2.0 * v * (t / r - (1.0 - (-r * t).exp()) / (r * r));
    let dispersion = expected / (rate * t);
    assert!(dispersion > 3.0, "this law is bursty: {dispersion}");

    let n = 4000;
    let counts = counts(&MMPP, rate, t, n);
    // Four standard errors: of the mean sqrt(Var / n); of the variance, its law close to normal, sqrt(2 / n).
    let off = (mean(&counts) - rate * t).abs();
    assert!(off < 4.0 * (expected / n as f64).sqrt(), "mean off by {off}");
    let measured = variance(&counts) / mean(&counts);
    // The third moment makes the spread of the variance a little wider than that of a normal law; hence six.
    let error = 6.0 * (2.0 / n as f64).sqrt();
    assert!((measured / dispersion - 1.0).abs() < error, "{measured}, not {dispersion}");
}

#[test]
fn an_mmpp_that_switches_far_faster_than_it_sends_is_poisson() {
    let fast =
        Arrival::Mmpp { factor: 1000.0, calm: Duration::from_nanos(900), busy: Duration::from_nanos(100) };
    let counts = counts(&fast, 10.0, 1.0, 4000);
    let error = 4.0 * (2.0_f64 / 4000.0 + 1.0 / (4000.0 * 10.0)).sqrt();
    assert!((variance(&counts) / mean(&counts) - 1.0).abs() < error);
    assert!((mean(&counts) - 10.0).abs() < 4.0 * (10.0_f64 / 4000.0).sqrt());
}

#[test]
fn poisson_counts_have_a_dispersion_of_one_and_even_gaps_one_of_nothing() {
    let poisson = counts(&Arrival::Poisson, 20.0, 1.0, 4000);
    let error = 4.0 * (2.0_f64 / 4000.0 + 1.0 / (4000.0 * 20.0)).sqrt();
    assert!((variance(&poisson) / mean(&poisson) - 1.0).abs() < error);
    // Renewal theory: in long windows the dispersion of counts is the square of the gaps' cv (here 0.04).
    let even = counts(&Arrival::Gamma { cv: 0.2 }, 20.0, 10.0, 1000);
    let dispersion = variance(&even) / mean(&even);
    // Within a fifth for windows of 200 gaps: four standard errors of a variance are 4 sqrt(2 / 1000) = 18 %, and the
    // window adds 1/6 of a count (Cox, Renewal Theory, section 4.5: variance cv² t + 1/6 + cv⁴/2).
    let expected = (0.04 * 200.0 + 1.0 / 6.0 + 0.04 * 0.04 / 2.0) / 200.0;
    assert!((dispersion / expected - 1.0).abs() < 0.18, "{dispersion}, not {expected}");
}

#[test]
fn bursts_come_whole_and_on_time() {
    let all = times(&Arrival::Burst { count: 3, every: seconds(2) }, 1.5, 9, 100.0);
    assert_eq!(all.len(), 150);
    assert!(all.chunks(3).all(|burst| burst.iter().all(|at| at.to_bits() == burst[0].to_bits())));
    assert!(all.chunks(3).zip(all.chunks(3).skip(1)).all(|(a, b)| (b[0] - a[0] - 2.0).abs() < 1e-6));
    assert!(all[0] < 2.0);
}

#[test]
fn a_recording_is_played_as_it_is_and_again() {
    let all: Vec<u64> = times(&trace(), 40.0, 9, 0.3).iter().map(|at| (at * 1e3).round() as u64).collect();
    assert_eq!(all, [5, 5, 20, 100, 105, 105, 120, 200, 205, 205, 220]);
}
