//! What happened to messages under way that met trouble, as their senders tell it.
//!
//! Most messages have none, so this lies beside the ledger and not in it. Only the slowest are kept in the end; which ones
//! that are is not known before they are done with.

use std::collections::BTreeMap;

use chat_core::trace::steps::Step;

/// Steps by message and hop: `None` is the one to the server, otherwise it is the one to this recipient.
#[derive(Debug)]
pub(super) struct Troubles {
    is_wanted: bool,
    steps: BTreeMap<(u32, Option<u32>), Box<[Step]>>,
    left_out: u64,
}

impl Troubles {
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, steps: BTreeMap::new(), left_out: 0 }
    }

    pub(super) fn add(&mut self, message: u32, recipient: Option<u32>, steps: &[Step]) {
        if !self.is_wanted || steps.is_empty() {
            return;
        }
        if self.steps.len() == MOST_TROUBLES {
            self.left_out += 1;
            return;
        }
        self.steps.insert((message, recipient), steps.into());
    }

    pub(super) fn get(&self, message: u32, recipient: Option<u32>) -> &[Step] {
        self.steps.get(&(message, recipient)).map_or(&[], |steps| steps)
    }

    /// A message is done with.
    pub(super) fn forget(&mut self, message: u32) {
        while let Some((&key, _)) = self.steps.range((message, None)..=(message, Some(u32::MAX))).next() {
            self.steps.remove(&key);
        }
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// Hops in trouble at once: 20 MiB with ten steps each. At 10 % loss each way these are a quarter of the pairs under way.
const MOST_TROUBLES: usize = 65_536;

#[cfg(test)]
mod tests {
    use chat_core::trace::steps::StepKind;
    use units::Timestamp;

    use super::*;

    #[test]
    fn a_message_is_forgotten_with_all_its_hops_and_no_other() {
        let step = Step { at: Timestamp::ZERO, packet: 1, kind: StepKind::Sent };
        let mut troubles = Troubles::new(true);
        for (message, recipient) in [(1, None), (1, Some(0)), (1, Some(9)), (2, None)] {
            troubles.add(message, recipient, &[step]);
        }
        troubles.forget(1);
        assert!(troubles.get(1, None).is_empty() && troubles.get(1, Some(9)).is_empty());
        assert_eq!((troubles.get(2, None), troubles.steps.len()), ([step].as_slice(), 1));
    }

    #[test]
    fn beyond_the_bound_they_are_counted() {
        let step = Step { at: Timestamp::ZERO, packet: 1, kind: StepKind::Sent };
        let mut troubles = Troubles::new(true);
        (0..MOST_TROUBLES as u32 + 2).for_each(|message| troubles.add(message, None, &[step]));
        assert_eq!(troubles.left_out(), 2);
    }
}
