//! A quantity over time: when has it settled, and how many independent values is it worth?

/// How many leading values of a series MSER-5 would cut as warm-up.
///
/// Values are put together in fives, and the cut is where the standard error of the mean of the rest is least (White,
/// *Simulation* 69, 1997; White and Spratt, Winter Simulation Conference 2000). `None` if the series is shorter than
/// four fives, or if the minimum lies in the second half: it has not settled then.
#[must_use]
pub fn mser5(series: &[f64]) -> Option<usize> {
    let batches: Vec<f64> =
        series.chunks_exact(BATCH).map(|batch| batch.iter().sum::<f64>() / BATCH as f64).collect();
    if batches.len() < LEAST_BATCHES {
        return None;
    }
    // From the end: mean and squared deviations of what follows each cut (Welford).
    let (mut mean, mut squares) = (0.0, 0.0);
    let mut errors = vec![f64::INFINITY; batches.len()];
    for (kept, cut) in (1..=batches.len()).zip((0..batches.len()).rev()) {
        let away = batches[cut] - mean;
        mean += away / kept as f64;
        squares += away * (batches[cut] - mean);
        errors[cut] = squares / (kept as f64).powi(2);
    }
    let half = batches.len() / 2;
    // The last few batches are alike by chance, so only the first half may be cut; a tie cuts less.
    let least = |range: std::ops::Range<usize>| range.min_by(|&a, &b| errors[a].total_cmp(&errors[b]));
    let cut = least(0..half + 1)?;
    (cut < half).then_some(cut * BATCH)
}

const BATCH: usize = 5;
/// Fewer fives have no shape.
const LEAST_BATCHES: usize = 4;

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use units::Seed;

    use super::*;

    #[test]
    fn a_start_that_is_higher_is_cut_where_it_ends() {
        let mut rng = Seed::root(3).fork("mser").rng();
        let series: Vec<f64> = (0..100)
            .map(|n| 100.0 + rng.random::<f64>() + if n < 20 { f64::from(20 - n) * 5.0 } else { 0.0 })
            .collect();
        let cut = mser5(&series).expect("it settles");
        assert!((15..=25).contains(&cut), "{cut}");
    }

    #[test]
    fn what_is_steady_needs_little_cut_and_what_never_settles_none() {
        assert_eq!(mser5(&[7.0; 60]), Some(0));
        let rising: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(mser5(&rising), None);
        assert_eq!(mser5(&[1.0; 19]), None);
    }

    #[test]
    fn the_standard_error_is_least_where_it_says() {
        // Two fives of 10 and six of 0, the last 1: cutting two leaves 1/6 ± ..., cutting none leaves far more.
        let mut series = vec![10.0; 10];
        series.extend([0.0; 25]);
        series.extend([1.0; 5]);
        assert_eq!(mser5(&series), Some(10));
    }
}
