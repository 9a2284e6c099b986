//! Transport traces of a run while it goes on, bounded.

use chat_core::trace::TraceEvent;

use crate::record::Side;

/// Events of the traced connections, each with its client and end.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    events: Vec<(u32, Side, TraceEvent)>,
    left_out: u64,
}

impl Traces {
    /// Keeps an event while there is room.
    pub fn push(&mut self, client: u32, side: Side, event: TraceEvent) {
        if self.events.len() < MOST_TRACES {
            self.events.push((client, side, event));
        } else {
            self.left_out += 1;
        }
    }

    /// Adds what somebody else kept.
    pub(crate) fn append(&mut self, other: &Self) {
        other.events.iter().for_each(|&(client, side, event)| self.push(client, side, event));
        self.left_out += other.left_out;
    }

    /// As they came.
    #[must_use]
    pub fn events(&self) -> &[(u32, Side, TraceEvent)] {
        &self.events
    }

    /// Events for which there was no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// What a reader should know.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            format!(
                "transport traces end after {MOST_TRACES} events and lack {}; trace fewer clients (measure.traces)",
                self.left_out
            )
        })
    }
}

/// Trace events of a run: 100 MB. A client that sends a hundred packets a second makes so many in half an hour; more than a
/// picture can show in a minute of one that fills a fast link.
pub const MOST_TRACES: usize = 1 << 19;

#[cfg(test)]
mod tests {
    use chat_core::congestion::State;
    use chat_core::trace::{Metrics, TraceKind};
    use units::{ByteCount, Timestamp};

    use super::*;

    #[test]
    fn traces_are_bounded_and_say_what_they_lack() {
        let metrics = Metrics {
            cwnd: ByteCount::ZERO,
            ssthresh: None,
            in_flight: ByteCount::ZERO,
            packets_in_flight: 0,
            latest_rtt: None,
            min_rtt: None,
            srtt: None,
            rttvar: None,
            rto: std::time::Duration::ZERO,
            pto_count: 0,
            pacing_rate: None,
            delivery_rate: None,
            state: State::SlowStart,
        };
        let event = TraceEvent { at: Timestamp::ZERO, kind: TraceKind::Acked, metrics };
        let mut traces = Traces::default();
        assert_eq!(traces.warning(), None);
        (0..MOST_TRACES + 3).for_each(|_| traces.push(0, Side::Client, event));
        assert_eq!((traces.events().len(), traces.left_out()), (MOST_TRACES, 3));
        assert!(traces.warning().is_some_and(|text| text.contains("lack 3;")));
    }
}
