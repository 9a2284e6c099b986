//! What a link decided about one packet, and the fingerprint of all it decided.
//!
//! A verdict holds model times only. When the packet really left is the driver's affair and differs from run to run;
//! what is here must not.
//!
//! **The fingerprint.** Deliveries and drops come out of a link on two ways, each in a fixed order, but how they
//! interleave depends on when the driver asked. So each way has a SHA-256 of its own over records of fixed size, and
//! a link's digest is the SHA-256 of both and their counts. The digest of a run mixes those of its links by name.

use std::fmt;

use sha2::{Digest as _, Sha256};
use units::Timestamp;

use crate::link::{Delivery, DropCause, LinkEvent};

/// What a link decided about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which packet offered to the link, counted from 1.
    pub number: u64,
    /// Whether it is about the second of two.
    pub copy: bool,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Delivered {
        arrived: Timestamp,
        due: Timestamp,
        /// The bit that is flipped.
        corrupt: Option<u64>,
        /// Whether the queue marked it.
        mark: bool,
    },
    Dropped {
        at: Timestamp,
        cause: DropCause,
    },
}

impl<P> From<&Delivery<P>> for Verdict {
    fn from(delivery: &Delivery<P>) -> Self {
        let Delivery { number, arrived, due, corrupt, copy, mark, .. } = *delivery;
        Self { number, copy, fate: Fate::Delivered { arrived, due, corrupt, mark } }
    }
}

impl<P> From<&LinkEvent<P>> for Verdict {
    fn from(event: &LinkEvent<P>) -> Self {
        let LinkEvent { at, number, copy, cause, .. } = *event;
        Self { number, copy, fate: Fate::Dropped { at, cause } }
    }
}

impl Verdict {
    /// The columns of [`Display`](fmt::Display).
    pub const COLUMNS: &'static str = "packet,copy,verdict,at_ns,delay_ns,corrupt_bit,mark,cause";
}

impl fmt::Display for Verdict {
    /// One line of CSV; times in nanoseconds of the run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, copy, fate } = self;
        let copy = u8::from(*copy);
        match fate {
            Fate::Delivered { arrived, due, corrupt, mark } => {
                let delay = due.since(*arrived).as_nanos();
                let bit = corrupt.map_or(String::new(), |bit| bit.to_string());
                let at = due.as_nanos();
                write!(f, "{number},{copy},delivered,{at},{delay},{bit},{},", u8::from(*mark))
            }
            Fate::Dropped { at, cause } => {
                write!(f, "{number},{copy},dropped,{},,,,{}", at.as_nanos(), cause_name(*cause))
            }
        }
    }
}

/// How a cause is written in logs, captures and tables.
#[must_use]
pub fn cause_name(cause: DropCause) -> &'static str {
    match cause {
        DropCause::Mtu => "larger than the MTU",
        DropCause::Blackout => "blackout",
        DropCause::Flap => "flap",
        DropCause::Hold => "too many held",
        DropCause::Loss => "loss (entry)",
        DropCause::LossWire => "loss (wire)",
        DropCause::Queue => "queue full",
        DropCause::CoDel => "CoDel",
        DropCause::Pie => "PIE",
        DropCause::Red => "RED",
        DropCause::Fq => "fair queue full",
    }
}

/// Cause and its code in the log. A code is never used again for another cause.
const CAUSES: [(u8, DropCause); 11] = [
    (1, DropCause::Blackout),
    (2, DropCause::Loss),
    (3, DropCause::Queue),
    (4, DropCause::Mtu),
    (5, DropCause::Flap),
    (6, DropCause::Hold),
    (7, DropCause::LossWire),
    (8, DropCause::CoDel),
    (9, DropCause::Pie),
    (10, DropCause::Red),
    (11, DropCause::Fq),
];

/// The number of a cause in the log; `None` for a cause that the format does not know.
pub(super) fn cause_code(cause: DropCause) -> Option<u8> {
    CAUSES.iter().find(|(_, known)| *known == cause).map(|(code, _)| *code)
}

pub(super) fn cause_of(code: u8) -> Option<DropCause> {
    CAUSES.iter().find(|(known, _)| *known == code).map(|(_, cause)| *cause)
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The running fingerprint of one link.
#[derive(Clone, Debug, Default)]
pub struct VerdictDigest {
    deliveries: Sha256,
    delivered: u64,
    drops: Sha256,
    dropped: u64,
}

impl VerdictDigest {
    pub fn add(&mut self, verdict: &Verdict) {
        let number = verdict.number.to_le_bytes();
        match verdict.fate {
            Fate::Delivered { arrived, due, corrupt, mark } => {
                let mut record = [0_u8; 36];
                record[0] = u8::from(verdict.copy);
                record[1] = u8::from(mark);
                record[2] = u8::from(corrupt.is_some());
                record[4..12].copy_from_slice(&number);
                record[12..20].copy_from_slice(&arrived.as_nanos().to_le_bytes());
                record[20..28].copy_from_slice(&due.as_nanos().to_le_bytes());
                record[28..36].copy_from_slice(&corrupt.unwrap_or(0).to_le_bytes());
                self.deliveries.update(record);
                self.delivered += 1;
            }
            Fate::Dropped { at, cause } => {
                let mut record = [0_u8; 20];
                record[0] = u8::from(verdict.copy);
                record[1] = cause_code(cause).unwrap_or(0);
                record[4..12].copy_from_slice(&number);
                record[12..20].copy_from_slice(&at.as_nanos().to_le_bytes());
                self.drops.update(record);
                self.dropped += 1;
            }
        }
    }

    /// Deliveries and drops so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.delivered, self.dropped)
    }

    /// The fingerprint so far; more may be added after it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut both = Sha256::new();
        both.update(DOMAIN);
        both.update(self.delivered.to_le_bytes());
        both.update(self.deliveries.clone().finalize());
        both.update(self.dropped.to_le_bytes());
        both.update(self.drops.clone().finalize());
        Digest(both.finalize().into())
    }
}

/// The fingerprint of many links, in whatever order they come to their ends.
///
/// Each link's name and digest are hashed, and these hashes are added bit by bit without carry, so that a run of a
/// million short flows needs no more memory than one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunDigest {
    parts: u64,
    mixed: [u8; 32],
}

impl RunDigest {
    pub fn add(&mut self, name: &str, digest: Digest) {
        let mut part = Sha256::new();
        part.update(DOMAIN);
        part.update((name.len() as u64).to_le_bytes());
        part.update(name);
        part.update(digest.0);
        let part: [u8; 32] = part.finalize().into();
        self.mixed.iter_mut().zip(part).for_each(|(mixed, byte)| *mixed ^= byte);
        self.parts += 1;
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut all = Sha256::new();
        all.update(DOMAIN);
        all.update(self.parts.to_le_bytes());
        all.update(self.mixed);
        Digest(all.finalize().into())
    }
}

/// Changes with the meaning of the records, so that digests of different formats never look alike.
const DOMAIN: &[u8] = b"netem-proxy/verdicts/1";

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(number: u64, due: u64) -> Verdict {
        let (arrived, due) = (Timestamp::from_nanos(number), Timestamp::from_nanos(due));
        Verdict { number, copy: false, fate: Fate::Delivered { arrived, due, corrupt: None, mark: false } }
    }

    fn dropped(number: u64) -> Verdict {
        let at = Timestamp::from_nanos(number);
        Verdict { number, copy: false, fate: Fate::Dropped { at, cause: DropCause::Loss } }
    }

    fn digest(verdicts: &[Verdict]) -> Digest {
        let mut digest = VerdictDigest::default();
        verdicts.iter().for_each(|verdict| digest.add(verdict));
        digest.digest()
    }

    #[test]
    fn every_cause_has_a_code_of_its_own() {
        for cause in DropCause::ALL {
            assert_eq!(cause_code(cause).and_then(cause_of), Some(cause));
        }
    }

    #[test]
    fn when_the_driver_asked_does_not_matter_but_every_field_does() {
        let base = digest(&[delivered(1, 10), dropped(2), delivered(3, 30)]);
        assert_eq!(base, digest(&[dropped(2), delivered(1, 10), delivered(3, 30)]));
        for other in [
            vec![delivered(3, 30), delivered(1, 10), dropped(2)],
            vec![delivered(1, 11), delivered(3, 30), dropped(2)],
            vec![delivered(1, 10), delivered(3, 30)],
            vec![delivered(1, 10), dropped(2), dropped(3)],
            vec![Verdict { copy: true, ..delivered(1, 10) }, dropped(2), delivered(3, 30)],
        ] {
            assert_ne!(base, digest(&other), "{other:?}");
        }
    }

    #[test]
    fn links_may_end_in_any_order_but_not_swap_their_names() {
        let (one, two) = (digest(&[delivered(1, 10)]), digest(&[dropped(1)]));
        let run = |parts: &[(&str, Digest)]| {
            let mut run = RunDigest::default();
            parts.iter().for_each(|(name, digest)| run.add(name, *digest));
            run.digest()
        };
        let both = run(&[("a", one), ("b", two)]);
        assert_eq!(both, run(&[("b", two), ("a", one)]));
        for other in [run(&[("a", two), ("b", one)]), run(&[("a", one)]), run(&[])] {
            assert_ne!(both, other);
        }
    }

    #[test]
    fn a_verdict_is_a_line_with_as_many_fields_as_there_are_columns() {
        assert_eq!(delivered(1, 11).to_string(), "1,0,delivered,11,10,,0,");
        assert_eq!(dropped(2).to_string(), "2,0,dropped,2,,,,loss (entry)");
        for verdict in [delivered(1, 10), dropped(2)] {
            assert_eq!(verdict.to_string().split(',').count(), Verdict::COLUMNS.split(',').count());
        }
    }
}
