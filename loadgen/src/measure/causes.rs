//! Where the time of each delivery went.
//!
//! A latency is what the empty path takes, plus waits that the connections told of, plus a rest. The waits before a
//! message first left and those behind other messages are exact. What loss cost is told by the transmission that was
//! *acknowledged*, which need not be the one that arrived first; so it gets at most what the exact ones leave over.
//!
//! Parts are summed by latency, in bins that are 1.6 % wide, so that the slowest hundredth is known in the end without a
//! list of all deliveries: it is the slowest bins, and of the one in which it begins the mean of all that are in it.

use std::time::Duration;

use crate::record::DeliveryRow;
use crate::result::{CauseMeans, DelayCauses};
use crate::scenario::Scenario;

use super::micros;
use super::recorder::{FINE, Waits, fine};

/// One delivery: its latency, and its parts, which add up to it. Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    latency: u32,
    window: u32,
    pacing: u32,
    flow: u32,
    loss: u32,
    order: u32,
    base: u32,
    path: u32,
}

/// Takes `latency` apart. `base` is the delay of the empty path. Microseconds.
pub(super) fn parts(latency: u64, base: u32, up: Waits, down: Waits) -> Parts {
    let latency = u32::try_from(latency).unwrap_or(u32::MAX);
    let mut left = latency;
    let mut take = |span: u32| {
        let taken = span.min(left);
        left -= taken;
        taken
    };
    let base = take(base);
    let window = take(up.window.saturating_add(down.window));
    let pacing = take(up.pacing.saturating_add(down.pacing));
    let flow = take(up.flow.saturating_add(down.flow));
    let order = take(up.order.saturating_add(down.order));
    let loss = take(up.loss.saturating_add(down.loss));
    let path = take(u32::MAX);
    Parts { latency, window, pacing, flow, loss, order, base, path }
}

impl Parts {
    /// Into the columns of its row.
    pub(super) fn write(self, row: &mut DeliveryRow) {
        row.wait_window_us = Some(self.window.into());
        row.wait_pacing_us = Some(self.pacing.into());
        row.wait_flow_us = Some(self.flow.into());
        row.wait_loss_us = Some(self.loss.into());
        row.wait_order_us = Some(self.order.into());
    }

    fn each(self) -> [u32; PARTS] {
        [self.latency, self.base, self.window, self.pacing, self.flow, self.loss, self.order, self.path]
    }
}

/// Mean delays of links, by group of clients, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Bases {
    groups: Vec<u16>,
    up: Vec<u32>,
    down: Vec<u32>,
}

impl Bases {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let link = |name: &Option<String>| name.as_ref().and_then(|name| scenario.links.get(name));
        let us = |delay: Duration| u32::try_from(micros(delay)).unwrap_or(u32::MAX);
        let ways = scenario.clients.iter().map(|group| {
            link(&group.link).map_or((0, 0), |link| (us(link.up.mean_delay()), us(link.down.mean_delay())))
        });
        let (up, down) = ways.unzip();
        let groups = scenario.groups().into_iter().map(|group| u16::try_from(group).unwrap_or(u16::MAX));
        Self { groups: groups.collect(), up, down }
    }

    /// Of the links of `sender` upwards and of `recipient` downwards.
    pub(super) fn of(&self, sender: u32, recipient: u32) -> u32 {
        let of = |delays: &[u32], client: u32| {
            self.groups.get(client as usize).and_then(|&group| delays.get(usize::from(group))).copied()
        };
        of(&self.up, sender).unwrap_or(0) + of(&self.down, recipient).unwrap_or(0)
    }
}

/// Parts of all recorded deliveries, summed by latency; 99 KiB.
#[derive(Clone, Debug)]
pub(crate) struct Causes {
    bins: Box<[Bin]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    count: u64,
    sums: [u64; PARTS],
}

impl Default for Causes {
    fn default() -> Self {
        Self { bins: vec![Bin::default(); FINE].into_boxed_slice() }
    }
}

impl Causes {
    pub(super) fn record(&mut self, parts: Parts) {
        let bin = &mut self.bins[fine(parts.latency.into())];
        bin.count += 1;
        for (sum, part) in bin.sums.iter_mut().zip(parts.each()) {
            *sum += u64::from(part);
        }
    }

    /// Means over all, and over the slowest hundredth: at least one, by latency.
    pub(super) fn summarise(&self) -> DelayCauses {
        let count: u64 = self.bins.iter().map(|bin| bin.count).sum();
        DelayCauses {
            count,
            all: self.means(count),
            slowest: self.means(count.div_ceil(100)),
            ..DelayCauses::default()
        }
    }

    /// Of the `count` slowest.
    fn means(&self, count: u64) -> CauseMeans {
        let mut left = count;
        let mut sums = [0.0; PARTS];
        for bin in self.bins.iter().rev().filter(|bin| bin.count > 0) {
            let taken = bin.count.min(left);
            let share = taken as f64 / bin.count as f64;
            sums.iter_mut().zip(bin.sums).for_each(|(sum, part)| *sum += part as f64 * share);
            left -= taken;
        }
        let mean = |part: usize| (count > 0).then(|| sums[part] / count as f64);
        CauseMeans {
            latency_us: mean(0),
            base_us: mean(1),
            window_us: mean(2),
            pacing_us: mean(3),
            flow_us: mean(4),
            loss_us: mean(5),
            order_us: mean(6),
            path_us: mean(7),
        }
    }
}

/// Latency first, then its parts, in the order of [`Parts::each`].
const PARTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Waits = Waits { window: 0, pacing: 0, flow: 0, loss: 0, order: 0 };

    fn all(parts: impl IntoIterator<Item = Parts>) -> DelayCauses {
        let mut causes = Causes::default();
        parts.into_iter().for_each(|parts| causes.record(parts));
        causes.summarise()
    }

    #[test]
    fn parts_add_up_and_loss_gets_no_more_than_is_left() {
        let up = Waits { window: 4_000, loss: 200_000, ..NONE };
        let down = Waits { window: 6_000, order: 30_000, ..NONE };
        let enough = parts(300_000, 50_000, up, down);
        let expected = Parts {
            latency: 300_000,
            window: 10_000,
            loss: 200_000,
            order: 30_000,
            base: 50_000,
            path: 10_000,
            ..Parts::default()
        };
        assert_eq!(enough, expected);
        let short = parts(100_000, 50_000, up, down);
        assert_eq!((short.loss, short.path), (10_000, 0));
    }

    #[test]
    fn the_slowest_hundredth_is_by_latency_and_never_empty() {
        let fast = parts(50_000, 50_000, NONE, NONE);
        let slow = parts(250_000, 50_000, NONE, Waits { order: 200_000, ..NONE });
        let causes = all(std::iter::repeat_n(fast, 199).chain([slow]));
        assert_eq!((causes.count, causes.all.order_us), (200, Some(1_000.0)));
        assert_eq!(causes.slowest.order_us, Some(100_000.0), "two of two hundred");
        assert_eq!(all([]).slowest.latency_us, None);
        assert_eq!(all([slow]).slowest.order_us, Some(200_000.0));
    }
}
