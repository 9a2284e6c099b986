//! Where a system stops keeping its promises: double until it fails, then bisect.
//!
//! Pure: it says which value to try and is told what came of it. The answer is an interval, because between the highest
//! value that passed and the lowest that failed nothing was tried. It is only as good as its assumption that the system
//! fails everywhere above the point where it begins to; every probe is kept, so that a reader can see whether it did.

use crate::scenario::{Search, SearchUnit};

/// A search that is going on.
#[derive(Clone, Debug)]
pub struct Bracket<'a> {
    search: &'a Search,
    /// The highest value that passed, with all below it.
    pass: Option<f64>,
    /// The lowest that failed.
    fail: Option<f64>,
    tried: usize,
    open: Option<String>,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    Pass,
    Fail,
    /// It says nothing about the system; why not.
    Open(String),
}

/// What a search found. `None` at an end: nothing is known there.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The highest value that passed; `None`: not even the lowest did.
    pub pass: Option<f64>,
    /// The lowest that failed; `None`: not even the highest did.
    pub fail: Option<f64>,
    /// Why the search ended before its interval was narrow enough.
    pub open: Option<String>,
}

impl<'a> Bracket<'a> {
    #[must_use]
    pub fn new(search: &'a Search) -> Self {
        Self { search, pass: None, fail: None, tried: 0, open: None }
    }

    /// The value to try next; `None` when the search is over.
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        let Search { lo, hi, .. } = *self.search;
        if self.open.is_some() || self.tried >= MOST_PROBES {
            return None;
        }
        match (self.pass, self.fail) {
            (None, None) => Some(lo),
            // The lowest failed; there is nothing below.
            (None, Some(_)) => None,
            (Some(pass), None) if pass >= hi => None,
            // A search begins above nothing, so there is something to double.
            (Some(pass), None) => Some(self.rounded(pass * 2.0).min(hi)),
            (Some(pass), Some(fail)) => {
                let middle = self.rounded(f64::midpoint(pass, fail));
                let is_narrow = fail - pass <= self.search.tolerance * pass.abs();
                (!is_narrow && middle > pass && middle < fail).then_some(middle)
            }
        }
    }

    /// What came of trying `value`.
    pub fn on_trial(&mut self, value: f64, trial: Trial) {
        self.tried += 1;
        match trial {
            Trial::Pass => self.pass = Some(value),
            Trial::Fail => self.fail = Some(value),
            Trial::Open(why) => self.open = Some(why),
        }
    }

    #[must_use]
    pub fn answer(&self) -> Answer {
        let is_out_of_probes = self.open.is_none() && self.tried >= MOST_PROBES;
        let open = self
            .open
            .clone()
            .or_else(|| is_out_of_probes.then(|| format!("{MOST_PROBES} probes are enough")));
        Answer { pass: self.pass, fail: self.fail, open }
    }

    /// As the scenario can say it: half a client is none.
    fn rounded(&self, value: f64) -> f64 {
        match self.search.unit {
            SearchUnit::Count | SearchUnit::BitsPerSecond | SearchUnit::Bytes => value.round(),
            // Four digits; more are nobody's rate, and unreadable.
            SearchUnit::PerSecond | SearchUnit::Share | SearchUnit::Time => {
                let scale = 10f64.powf(3.0 - value.abs().max(f64::MIN_POSITIVE).log10().floor());
                (value * scale).round() / scale
            }
        }
    }
}

/// Doubling spans a factor of a million in 20 probes and bisecting to a thousandth takes 10 more; beyond this the
/// tolerance cannot be reached.
const MOST_PROBES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SearchMethod;

    fn search(lo: f64, hi: f64, unit: SearchUnit) -> Search {
        let path = "workload.chat.arrival.rate".to_owned();
        Search { path, lo, hi, unit, method: SearchMethod::Bracket, tolerance: 0.05, repeats: 1 }
    }

    /// The values tried, and the answer, for a system that keeps up to `knee`.
    fn find(search: &Search, knee: f64) -> (Vec<f64>, Answer) {
        let mut bracket = Bracket::new(search);
        let mut tried = Vec::new();
        while let Some(value) = bracket.next() {
            tried.push(value);
            bracket.on_trial(value, if value <= knee { Trial::Pass } else { Trial::Fail });
        }
        (tried, bracket.answer())
    }

    #[test]
    fn the_interval_holds_the_knee_and_is_as_narrow_as_asked() {
        for knee in [1.0, 1.5, 3.7, 99.0, 250.0, 499.0] {
            let search = search(1.0, 500.0, SearchUnit::PerSecond);
            let (tried, answer) = find(&search, knee);
            let (pass, fail) = (answer.pass.unwrap(), answer.fail.unwrap());
            assert!(pass <= knee && knee < fail, "{knee}: {pass}..{fail}");
            assert!(fail - pass <= 0.05 * pass + 1e-9, "{knee}: {pass}..{fail}");
            assert!(tried.len() <= search.most_probes() as usize, "{knee}: {tried:?}");
            assert_eq!(answer.open, None);
        }
    }

    #[test]
    fn the_ends_of_the_range_are_answers_too() {
        let search = search(10.0, 100.0, SearchUnit::Count);
        assert_eq!(find(&search, 5.0), (vec![10.0], Answer { pass: None, fail: Some(10.0), open: None }));
        let (tried, answer) = find(&search, 1_000.0);
        assert_eq!(tried, [10.0, 20.0, 40.0, 80.0, 100.0]);
        assert_eq!((answer.pass, answer.fail), (Some(100.0), None));
    }

    #[test]
    fn clients_are_whole() {
        let (tried, answer) = find(&search(1.0, 64.0, SearchUnit::Count), 6.0);
        assert_eq!(tried, [1.0, 2.0, 4.0, 8.0, 6.0, 7.0]);
        assert_eq!((answer.pass, answer.fail), (Some(6.0), Some(7.0)));
    }

    #[test]
    fn a_probe_that_says_nothing_ends_the_search() {
        let search = search(1.0, 500.0, SearchUnit::PerSecond);
        let mut bracket = Bracket::new(&search);
        bracket.on_trial(1.0, Trial::Pass);
        bracket.on_trial(2.0, Trial::Open("the generator was late".to_owned()));
        assert_eq!(bracket.next(), None);
        let answer = bracket.answer();
        assert_eq!((answer.pass, answer.fail), (Some(1.0), None));
        assert_eq!(answer.open.as_deref(), Some("the generator was late"));
    }
}
