//! The records of a log, as values and as bytes.
//!
//! A record is a tag byte and numbers ([`super::varint`]). Those that come with every packet are kept small: the tag
//! says what is the same as in the record before (link, size, flow), times and numbers are differences. An arrival
//! takes five bytes or so, a verdict ten. Differences begin anew in each block, so a block can be read alone.

use units::{ByteCount, Seed, Timestamp};

use super::portable::Portable;
use super::varint::{Cursor, put, put_bytes, put_difference};
use super::verdict::{Digest, Fate, Verdict, cause_code, cause_of};
use crate::link::{Ecn, Meta};
use crate::pacer::Direction;

/// One thing that happened to a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A profile that later records name by its number.
    Profile { number: u64, profile: Portable },
    /// A link was made.
    Opened { link: u64, direction: Direction, name: String, seed: Seed, origin: Timestamp, profile: u64 },
    /// A link was given another profile.
    Configured { link: u64, at: Timestamp, profile: u64 },
    /// A packet was offered.
    Arrival { link: u64, at: Timestamp, meta: Meta },
    /// A packet came out, or did not.
    Verdict { link: u64, verdict: Verdict },
    /// What was under way was given up.
    Discarded { link: u64 },
    /// Nothing more comes of this link.
    Closed { link: u64 },
    /// From here on the log does not say everything; a replay beyond it would be another run.
    Gap { reason: String },
    /// The stream ended in order.
    End { summary: StreamSummary },
}

/// What a stream of records says at its end, to compare a replay with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    pub arrivals: u64,
    pub delivered: u64,
    pub dropped: u64,
    /// Of all links' verdicts.
    pub digest: Digest,
}

/// What the record before it said; both sides keep one and begin anew with each block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    link: u64,
    at: u64,
    size: u64,
    flow: u64,
    number: u64,
    arrived: u64,
}

const ARRIVAL: u8 = 0x80;
const DELIVERED: u8 = 0x40;
const DROPPED: u8 = 0x20;

const SAME_LINK: u8 = 0x04;
/// Of arrivals.
const SAME_SIZE: u8 = 0x08;
const SAME_FLOW: u8 = 0x10;
const ECN_SHIFT: u8 = 5;
/// Of deliveries.
const CORRUPT: u8 = 0x08;
const MARK: u8 = 0x10;
const DELIVERED_COPY: u8 = 0x20;
/// Of drops.
const DROPPED_COPY: u8 = 0x10;

const PROFILE: u8 = 1;
const OPENED: u8 = 2;
const CONFIGURED: u8 = 3;
const DISCARDED: u8 = 8;
const CLOSED: u8 = 9;
const GAP: u8 = 10;
const END: u8 = 11;

impl Context {
    pub(super) fn encode(&mut self, record: &Record, out: &mut Vec<u8>) {
        match record {
            Record::Arrival { link, at, meta } => self.encode_arrival(*link, *at, meta, out),
            Record::Verdict { link, verdict } => self.encode_verdict(*link, verdict, out),
            Record::Profile { number, profile } => {
                out.push(PROFILE);
                put(out, *number);
                profile.encode(out);
            }
            Record::Opened { link, direction, name, seed, origin, profile } => {
                out.push(OPENED);
                put(out, *link);
                out.push(u8::from(*direction == Direction::Down));
                put_bytes(out, name.as_bytes());
                out.extend(seed.to_bytes());
                put(out, origin.as_nanos());
                put(out, *profile);
            }
            Record::Configured { link, at, profile } => {
                out.push(CONFIGURED);
                put(out, *link);
                put(out, at.as_nanos());
                put(out, *profile);
            }
            Record::Discarded { link } => {
                out.push(DISCARDED);
                put(out, *link);
            }
            Record::Closed { link } => {
                out.push(CLOSED);
                put(out, *link);
            }
            Record::Gap { reason } => {
                out.push(GAP);
                put_bytes(out, reason.as_bytes());
            }
            Record::End { summary } => {
                out.push(END);
                for count in [summary.arrivals, summary.delivered, summary.dropped] {
                    put(out, count);
                }
                out.extend(summary.digest.0);
            }
        }
    }

    pub(super) fn encode_arrival(&mut self, link: u64, at: Timestamp, meta: &Meta, out: &mut Vec<u8>) {
        let (size, flow) = (meta.size.as_u64(), meta.flow);
        let ecn: u8 = match meta.ecn {
            Ecn::NotCapable => 0,
            Ecn::Capable => 1,
            Ecn::Experienced => 2,
        };
        let same_size = if size == self.size { SAME_SIZE } else { 0 };
        let same_flow = if flow == self.flow { SAME_FLOW } else { 0 };
        out.push(ARRIVAL | ecn << ECN_SHIFT | same_size | same_flow | self.same_link(link));
        self.put_link(link, out);
        self.put_time(at, out);
        if same_size == 0 {
            put(out, size);
        }
        if same_flow == 0 {
            put(out, flow);
        }
        (self.size, self.flow) = (size, flow);
    }

    pub(super) fn encode_verdict(&mut self, link: u64, verdict: &Verdict, out: &mut Vec<u8>) {
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        match verdict.fate {
            Fate::Delivered { arrived, due, corrupt, mark } => {
                out.push(
                    DELIVERED
                        | flag(verdict.copy, DELIVERED_COPY)
                        | flag(mark, MARK)
                        | flag(corrupt.is_some(), CORRUPT)
                        | self.same_link(link),
                );
                self.put_link(link, out);
                self.put_number(verdict.number, out);
                put_difference(out, self.arrived, arrived.as_nanos());
                self.arrived = arrived.as_nanos();
                put_difference(out, arrived.as_nanos(), due.as_nanos());
                if let Some(bit) = corrupt {
                    put(out, bit);
                }
            }
            Fate::Dropped { at, cause } => {
                out.push(DROPPED | flag(verdict.copy, DROPPED_COPY) | self.same_link(link));
                self.put_link(link, out);
                self.put_number(verdict.number, out);
                self.put_time(at, out);
                // Zero is no cause: whoever reads it refuses it.
                out.push(cause_code(cause).unwrap_or(0));
            }
        }
    }

    /// `None` where the bytes are no record.
    pub(super) fn decode(&mut self, from: &mut Cursor<'_>) -> Option<Record> {
        let tag = from.byte()?;
        if tag & ARRIVAL != 0 {
            return self.decode_arrival(tag, from);
        }
        if tag & DELIVERED != 0 {
            return self.decode_delivered(tag, from);
        }
        if tag & DROPPED != 0 {
            return self.decode_dropped(tag, from);
        }
        Some(match tag {
            PROFILE => Record::Profile { number: from.number()?, profile: Portable::decode(from)? },
            OPENED => Record::Opened {
                link: from.number()?,
                direction: match from.byte()? {
                    0 => Direction::Up,
                    1 => Direction::Down,
                    _ => return None,
                },
                name: from.text()?,
                seed: Seed::from_bytes(from.take(32)?.try_into().ok()?),
                origin: Timestamp::from_nanos(from.number()?),
                profile: from.number()?,
            },
            CONFIGURED => Record::Configured {
                link: from.number()?,
                at: Timestamp::from_nanos(from.number()?),
                profile: from.number()?,
            },
            DISCARDED => Record::Discarded { link: from.number()? },
            CLOSED => Record::Closed { link: from.number()? },
            GAP => Record::Gap { reason: from.text()? },
            END => Record::End {
                summary: StreamSummary {
                    arrivals: from.number()?,
                    delivered: from.number()?,
                    dropped: from.number()?,
                    digest: Digest(from.take(32)?.try_into().ok()?),
                },
            },
            _ => return None,
        })
    }

    fn decode_arrival(&mut self, tag: u8, from: &mut Cursor<'_>) -> Option<Record> {
        let ecn = match tag >> ECN_SHIFT & 3 {
            0 => Ecn::NotCapable,
            1 => Ecn::Capable,
            2 => Ecn::Experienced,
            _ => return None,
        };
        let link = self.link(tag, from)?;
        let at = self.time(from)?;
        if tag & SAME_SIZE == 0 {
            self.size = from.number()?;
        }
        if tag & SAME_FLOW == 0 {
            self.flow = from.number()?;
        }
        let meta = Meta { size: ByteCount(self.size), flow: self.flow, ecn };
        Some(Record::Arrival { link, at, meta })
    }

    fn decode_delivered(&mut self, tag: u8, from: &mut Cursor<'_>) -> Option<Record> {
        let link = self.link(tag, from)?;
        let number = self.number(from)?;
        self.arrived = from.difference(self.arrived)?;
        let due = from.difference(self.arrived)?;
        let corrupt = if tag & CORRUPT != 0 { Some(from.number()?) } else { None };
        let fate = Fate::Delivered {
            arrived: Timestamp::from_nanos(self.arrived),
            due: Timestamp::from_nanos(due),
            corrupt,
            mark: tag & MARK != 0,
        };
        let copy = tag & DELIVERED_COPY != 0;
        Some(Record::Verdict { link, verdict: Verdict { number, copy, fate } })
    }

    fn decode_dropped(&mut self, tag: u8, from: &mut Cursor<'_>) -> Option<Record> {
        let link = self.link(tag, from)?;
        let number = self.number(from)?;
        let at = self.time(from)?;
        let fate = Fate::Dropped { at, cause: cause_of(from.byte()?)? };
        Some(Record::Verdict { link, verdict: Verdict { number, copy: tag & DROPPED_COPY != 0, fate } })
    }

    fn same_link(&self, link: u64) -> u8 {
        if link == self.link { SAME_LINK } else { 0 }
    }

    fn put_link(&mut self, link: u64, out: &mut Vec<u8>) {
        if link != self.link {
            put(out, link);
            self.link = link;
        }
    }

    fn link(&mut self, tag: u8, from: &mut Cursor<'_>) -> Option<u64> {
        if tag & SAME_LINK == 0 {
            self.link = from.number()?;
        }
        Some(self.link)
    }

    fn put_time(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        put_difference(out, self.at, at.as_nanos());
        self.at = at.as_nanos();
    }

    fn time(&mut self, from: &mut Cursor<'_>) -> Option<Timestamp> {
        self.at = from.difference(self.at)?;
        Some(Timestamp::from_nanos(self.at))
    }

    fn put_number(&mut self, number: u64, out: &mut Vec<u8>) {
        put_difference(out, self.number, number);
        self.number = number;
    }

    fn number(&mut self, from: &mut Cursor<'_>) -> Option<u64> {
        self.number = from.difference(self.number)?;
        Some(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_takes_few_bytes_a_packet() {
        let (mut context, mut out) = (Context::default(), Vec::new());
        let mut at = Timestamp::ZERO;
        let meta = Meta::of_size(ByteCount(1200));
        for number in 1..=1000 {
            at += std::time::Duration::from_nanos(6_667);
            context.encode_arrival(0, at, &meta, &mut out);
            let due = at + std::time::Duration::from_millis(50);
            let fate = Fate::Delivered { arrived: at, due, corrupt: None, mark: false };
            context.encode_verdict(0, &Verdict { number, copy: false, fate }, &mut out);
        }
        assert!(out.len() < 13_000, "{} bytes for 1000 packets", out.len());
    }
}
