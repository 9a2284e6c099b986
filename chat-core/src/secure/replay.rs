//! Which counters were seen: a sliding window as in RFC 4303 section 3.4.3 and RFC 6479.
//!
//! A packet that an attacker repeats is authentic; only its counter gives it away. What is older than the window is taken
//! for a repetition, because nobody can tell.

/// The newest [`WINDOW`] counters, one bit each.
#[derive(Debug, Default)]
pub(crate) struct ReplayWindow {
    /// One above the newest counter seen; 0 before the first.
    next: u64,
    /// Ring of bits: counter `c` stands in bit `c % WINDOW`.
    bits: [u64; WORDS],
}

impl ReplayWindow {
    /// One above the newest counter seen.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether this counter may still be taken. Ask before decrypting, [`Self::insert`] only after that succeeded.
    pub(crate) fn is_fresh(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        self.next - counter <= WINDOW && self.bits[word(counter)] & bit(counter) == 0
    }

    pub(crate) fn insert(&mut self, counter: u64) {
        if counter >= self.next {
            if counter - self.next >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                (self.next..counter).for_each(|skipped| self.bits[word(skipped)] &= !bit(skipped));
            }
            self.next = counter + 1;
        }
        self.bits[word(counter)] |= bit(counter);
    }
}

fn word(counter: u64) -> usize {
    (counter % WINDOW / 64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

/// Counters below the newest that are told apart. A second of reordering at a thousand packets a second; the protocol has
/// called a packet lost long before.
pub(crate) const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_edges_of_the_window() {
        let mut window = ReplayWindow::default();
        window.insert(5000);
        assert!(!window.is_fresh(5000));
        assert!(window.is_fresh(5000 - WINDOW + 1), "the oldest that is told apart");
        assert!(!window.is_fresh(5000 - WINDOW), "beyond the window nobody can tell");
        window.insert(5000 + WINDOW);
        assert!(!window.is_fresh(5000), "pushed out");
        assert!(window.is_fresh(5001));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(steps in proptest::collection::vec(0..3000_u64, 1..400), base in 0..u64::MAX / 2) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            for counter in steps.into_iter().map(|step| base + step) {
                let newest = seen.last().copied().unwrap_or(0);
                let expected = !seen.contains(&counter) && (seen.is_empty() || counter + WINDOW > newest);
                prop_assert_eq!(window.is_fresh(counter), expected);
                if expected {
                    window.insert(counter);
                    seen.insert(counter);
                }
            }
        }
    }
}
