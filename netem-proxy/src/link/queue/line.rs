//! Packets in a row, with their bytes.

use std::collections::VecDeque;

use units::Timestamp;

use super::super::event::DropCause;
use super::super::parcel::Parcel;

/// A packet that waits before the bottleneck.
#[derive(Debug)]
pub(in crate::link) struct Waiting<P> {
    pub(in crate::link) since: Timestamp,
    pub(in crate::link) parcel: Parcel<P>,
}

impl<P> Waiting<P> {
    pub(super) fn bytes(&self) -> u64 {
        self.parcel.size().as_u64()
    }
}

#[derive(Debug)]
pub(super) struct Line<P> {
    packets: VecDeque<Waiting<P>>,
    bytes: u64,
}

impl<P> Line<P> {
    pub(super) fn new() -> Self {
        Self { packets: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, waiting: Waiting<P>) {
        self.bytes += waiting.bytes();
        self.packets.push_back(waiting);
    }

    pub(super) fn pop(&mut self) -> Option<Waiting<P>> {
        let first = self.packets.pop_front()?;
        self.bytes -= first.bytes();
        Some(first)
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a discipline decided besides who goes next; the link takes it out and keeps the memory.
#[derive(Debug)]
pub(in crate::link) struct Verdicts<P> {
    pub(in crate::link) dropped: Vec<(Timestamp, DropCause, Parcel<P>)>,
    pub(in crate::link) marked: u64,
}

impl<P> Verdicts<P> {
    pub(super) fn new() -> Self {
        Self { dropped: Vec::new(), marked: 0 }
    }

    pub(super) fn drop(&mut self, at: Timestamp, cause: DropCause, parcel: Parcel<P>) {
        self.dropped.push((at, cause, parcel));
    }

    /// Marks the packet if that is wanted and it can be; says whether it did.
    pub(super) fn mark(&mut self, is_wanted: bool, parcel: &mut Parcel<P>) -> bool {
        let marks = is_wanted && parcel.can_be_marked();
        parcel.mark |= marks;
        self.marked += u64::from(marks);
        marks
    }
}
