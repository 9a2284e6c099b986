//! From packets that leave the link to pieces that are written.
//!
//! Units of one superpacket that come out of the link one behind the other, at the same poll, are written as one
//! superpacket again: the kernel behind the link then handles them at once, as its own network card would have
//! merged them. A copy, a damaged packet, one that is marked while its neighbour is not, a gap: each ends a run.
//! Packets that came one by one are joined likewise, where they continue each other ([`Train`]).

use std::rc::Rc;

use super::frame::{Frame, Units};
use super::join::{Joining, Train};
use crate::link::{Delivery, Meta};

/// One packet of a frame: what a link carries.
#[derive(Clone, Debug)]
pub struct Unit {
    pub frame: Rc<Frame>,
    pub number: u32,
}

impl Unit {
    #[must_use]
    pub fn meta(&self) -> Meta {
        self.frame.meta(self.number)
    }
}

/// One write to a device.
#[derive(Debug)]
pub struct Outgoing {
    frame: Rc<Frame>,
    units: Units,
    mark: bool,
    damage: Option<u64>,
    /// The frame with others that continue it; then this is what is written.
    train: Option<Train>,
}

impl Outgoing {
    /// The bytes to write: first those put into `head`, then those returned.
    pub fn compose<'a>(&'a self, head: &mut Vec<u8>) -> &'a [u8] {
        if let Some(train) = &self.train {
            return train.compose(head);
        }
        match self.damage {
            None => self.frame.compose(self.units.clone(), self.mark, head),
            Some(bit) => {
                self.frame.materialize(self.units.start, self.mark, Some(bit), head);
                &[]
            }
        }
    }

    /// Packets in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.train.as_ref().map_or(self.units.len() as u64, |train| train.count().into())
    }

    /// Whether it is a packet with a flipped bit.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damage.is_some()
    }

    fn of(delivery: Delivery<Unit>) -> Self {
        let Unit { frame, number } = delivery.packet;
        Self { frame, units: number..number + 1, mark: delivery.mark, damage: delivery.corrupt, train: None }
    }

    /// Takes in what follows, if that belongs right behind.
    fn append(&mut self, next: &Delivery<Unit>, joining: Joining) -> bool {
        if self.mark != next.mark || self.damage.is_some() || next.corrupt.is_some() {
            return false;
        }
        if Rc::ptr_eq(&self.frame, &next.packet.frame) {
            let fits = self.train.is_none() && self.units.end == next.packet.number;
            self.units.end += u32::from(fits);
            return fits;
        }
        // A marked packet is rare, and its header would have to be made first.
        if self.mark || self.frame.count() > 1 || next.packet.frame.count() > 1 {
            return false;
        }
        match &mut self.train {
            Some(train) => train.append(&next.packet.frame, joining),
            None => {
                self.train = Train::couple(&self.frame, &next.packet.frame, joining);
                self.train.is_some()
            }
        }
    }
}

/// Collects deliveries into writes. After the last one of a poll, [`flush`](Self::flush).
#[derive(Debug, Default)]
pub struct Gather {
    open: Option<Outgoing>,
    joining: Joining,
}

impl Gather {
    /// One that also joins packets that came alone.
    #[must_use]
    pub fn joining(joining: Joining) -> Self {
        Self { open: None, joining }
    }

    /// Takes a delivery, and gives back what is complete because this one does not continue it.
    pub fn push(&mut self, delivery: Delivery<Unit>) -> Option<Outgoing> {
        if self.open.as_mut().is_some_and(|open| open.append(&delivery, self.joining)) {
            return None;
        }
        self.open.replace(Outgoing::of(delivery))
    }

    pub fn flush(&mut self) -> Option<Outgoing> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use units::{Seed, Timestamp};

    use super::super::samples::{Sample, frame_of};
    use super::*;
    use crate::link::Link;

    /// Sends one superpacket of 20 units through a link and says which runs of units come out.
    fn runs(spec: &str) -> Vec<(Units, bool)> {
        let mut link = Link::new(spec.parse().expect("a spec"), Seed::root(1));
        let frame = Rc::new(frame_of(&Sample { payload: 20_000, segment: 1000, ..Sample::default() }));
        for number in 0..frame.count() {
            let unit = Unit { frame: frame.clone(), number };
            let meta = unit.meta();
            link.handle(Timestamp::ZERO, unit, meta);
        }
        let mut gather = Gather::default();
        let mut writes = Vec::new();
        while let Some(delivery) = link.poll_deliver(Timestamp::from_secs(1)) {
            writes.extend(gather.push(delivery));
        }
        writes.extend(gather.flush());
        writes.into_iter().map(|write| (write.units, write.damage.is_some())).collect()
    }

    #[test]
    fn an_unharmed_superpacket_is_one_write() {
        assert_eq!(runs("delay=1ms"), [(0..20, false)]);
    }

    #[test]
    fn lost_units_leave_gaps_and_the_rest_stays_together() {
        assert_eq!(runs("loss=every(7)"), [(0..6, false), (7..13, false), (14..20, false)]);
    }

    #[test]
    fn damaged_and_doubled_units_stand_alone() {
        assert_eq!(runs("corrupt=100%").len(), 20);
        assert!(runs("corrupt=100%").iter().all(|(units, damaged)| units.len() == 1 && *damaged));
        assert_eq!(runs("duplicate=100%").len(), 40 - 19);
    }
}
