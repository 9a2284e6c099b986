//! The link before the toxics: the same [`Link`] as behind datagrams and frames, for pieces of a stream.
//!
//! A stream has no packets, so it is cut into pieces that take at most a few milliseconds of the rate. Nothing may be
//! lost, and [`StreamProfile`](crate::stream::StreamProfile) saw to it; should a piece be lost all the same, the stream
//! has a hole, and it is reset rather than continued.

use units::{ByteCount, Seed, Timestamp};

use super::item::{End, Item};
use crate::link::Link;
use crate::profile::LinkProfile;

#[derive(Debug)]
pub(super) struct LinkStage {
    link: Link<Item>,
    piece: usize,
    cost: usize,
    is_plain: bool,
    under_way: u64,
    broken: bool,
}

impl LinkStage {
    pub(super) fn new(profile: LinkProfile, seed: Seed, origin: Timestamp) -> Self {
        Self {
            piece: piece(&profile),
            is_plain: is_plain(&profile),
            link: Link::new(profile, seed).with_origin(origin).without_delays(),
            cost: 0,
            under_way: 0,
            broken: false,
        }
    }

    pub(super) fn configure(&mut self, now: Timestamp, profile: LinkProfile) {
        self.piece = piece(&profile);
        self.is_plain = is_plain(&profile);
        self.link.configure(now, profile);
    }

    pub(super) fn is_transparent(&self) -> bool {
        self.is_plain && self.under_way == 0 && !self.broken
    }

    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    pub(super) fn profile(&self) -> &LinkProfile {
        self.link.profile()
    }

    pub(super) fn push(&mut self, at: Timestamp, item: Item) {
        match item {
            Item::End(_) => self.offer(at, item, 0),
            Item::Data(mut bytes) => {
                while bytes.len() > self.piece {
                    let part = bytes.split_to(self.piece);
                    let length = part.len();
                    self.offer(at, Item::Data(part), length);
                }
                let length = bytes.len();
                self.offer(at, Item::Data(bytes), length);
            }
        }
    }

    /// May come back with an event inside the link, when nothing leaves; [`pop`](Self::pop) then has nothing.
    pub(super) fn due(&self) -> Option<Timestamp> {
        if self.broken { None } else { self.link.poll_timeout() }
    }

    /// What has left by `due`, and the time it left.
    pub(super) fn pop(&mut self, due: Timestamp) -> Option<(Timestamp, Item)> {
        let delivery = self.link.poll_deliver(due);
        if self.link.counters().dropped() > 0 && !self.broken {
            tracing::error!(counters = ?self.link.counters(), "a link lost a piece of a byte stream");
            self.broken = true;
            return Some((due, Item::End(End::Reset)));
        }
        let delivery = delivery?;
        self.cost = self.cost.saturating_sub(delivery.packet.cost());
        self.under_way -= 1;
        Some((delivery.due, delivery.packet))
    }

    fn offer(&mut self, at: Timestamp, item: Item, length: usize) {
        self.cost += item.cost();
        self.under_way += 1;
        self.link.handle_packet(at, item, ByteCount(length as u64));
    }
}

fn is_plain(profile: &LinkProfile) -> bool {
    profile.rate.is_none()
        && profile.gates.is_empty()
        && profile.schedule.is_empty()
        && profile.mean_delay().is_zero()
        && profile.jitter().is_zero()
}

/// Short enough that the rate, the lowest of a schedule, looks smooth; long enough that a fast one is not cut to crumbs.
fn piece(profile: &LinkProfile) -> usize {
    let later = profile.schedule.iter().filter_map(|step| step.profile.bitrate());
    let rate = profile.bitrate().into_iter().chain(later).min();
    let bytes = rate.map_or(u64::MAX, |rate| rate.bytes_in(PIECE_SPAN).as_u64());
    usize::try_from(bytes).unwrap_or(usize::MAX).clamp(LEAST_PIECE, MOST_PIECE)
}

const PIECE_SPAN: std::time::Duration = std::time::Duration::from_millis(2);

/// What a full Ethernet packet carries of a TCP stream.
const LEAST_PIECE: usize = 1448;

const MOST_PIECE: usize = 32 * 1024;
