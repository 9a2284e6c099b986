//! Where the time of each delivery went.
//!
//! A latency is what the empty path takes, plus waits that the connections told of, plus a rest. The waits before a
//! message first left and those behind other messages are exact. What loss cost is told by the transmission that was
//! *acknowledged*, which need not be the one that arrived first; so it gets at most what the exact ones leave over.

use std::time::Duration;

use crate::backend::waits::HopWait;
use crate::record::DeliveryRow;
use crate::result::{CauseMeans, DelayCauses};
use crate::scenario::Scenario;

use super::micros;

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

/// Takes `latency` apart. `base` is the delay of the empty path.
pub(super) fn parts(latency: Duration, base: Duration, wait: HopWait) -> Parts {
    let mut left = latency;
    let mut take = |span: Duration| {
        let taken = span.min(left);
        left -= taken;
        u32::try_from(micros(taken)).unwrap_or(u32::MAX)
    };
    let base = take(base);
    let [window, pacing, flow] = [wait.delays.window, wait.delays.pacing, wait.delays.flow].map(&mut take);
    let order = take(wait.order);
    let loss = take(wait.delays.loss);
    let path = take(Duration::MAX);
    let latency = u32::try_from(micros(latency)).unwrap_or(u32::MAX);
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
}

/// Mean delays of the links of `sender` upwards and of `recipient` downwards.
pub(super) fn base(scenario: &Scenario, groups: &[usize], sender: u32, recipient: u32) -> Duration {
    let link = |client: u32| {
        let group = groups.get(client as usize)?;
        scenario.links.get(scenario.clients[*group].link.as_ref()?)
    };
    let up = link(sender).map_or(Duration::ZERO, |link| link.up.mean_delay());
    let down = link(recipient).map_or(Duration::ZERO, |link| link.down.mean_delay());
    up + down
}

/// Means over all, and over the slowest hundredth: at least one, by latency.
pub(super) fn summarise(parts: &[Parts]) -> DelayCauses {
    let mut sorted: Vec<&Parts> = parts.iter().collect();
    sorted.sort_by_key(|part| std::cmp::Reverse(part.latency));
    let slowest = &sorted[..parts.len().div_ceil(100)];
    DelayCauses {
        count: parts.len() as u64,
        all: means(&sorted),
        slowest: means(slowest),
        ..DelayCauses::default()
    }
}

fn means(parts: &[&Parts]) -> CauseMeans {
    let mean = |value: fn(&Parts) -> u32| {
        let sum: u64 = parts.iter().map(|part| u64::from(value(part))).sum();
        (!parts.is_empty()).then(|| sum as f64 / parts.len() as f64)
    };
    CauseMeans {
        latency_us: mean(|part| part.latency),
        base_us: mean(|part| part.base),
        window_us: mean(|part| part.window),
        pacing_us: mean(|part| part.pacing),
        flow_us: mean(|part| part.flow),
        loss_us: mean(|part| part.loss),
        order_us: mean(|part| part.order),
        path_us: mean(|part| part.path),
    }
}

#[cfg(test)]
mod tests {
    use chat_core::Delays;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn parts_add_up_and_loss_gets_no_more_than_is_left() {
        let delays = Delays { window: 10 * MS, loss: 200 * MS, ..Delays::default() };
        let wait = HopWait { delays, order: 30 * MS };
        let enough = parts(300 * MS, 50 * MS, wait);
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
        let short = parts(100 * MS, 50 * MS, wait);
        assert_eq!((short.loss, short.path), (10_000, 0));
    }

    #[test]
    fn the_slowest_hundredth_is_by_latency_and_never_empty() {
        let fast = parts(50 * MS, 50 * MS, HopWait::default());
        let slow = parts(250 * MS, 50 * MS, HopWait { order: 200 * MS, ..HopWait::default() });
        let mut all = vec![fast; 199];
        all.push(slow);
        let causes = summarise(&all);
        assert_eq!((causes.count, causes.all.order_us), (200, Some(1_000.0)));
        assert_eq!(causes.slowest.order_us, Some(100_000.0), "two of two hundred");
        assert_eq!(summarise(&[]).slowest.latency_us, None);
        assert_eq!(summarise(&[slow]).slowest.order_us, Some(200_000.0));
    }
}
