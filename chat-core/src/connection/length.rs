//! The length of datagrams: what the search for the path MTU asks of a connection, and what follows from it.
//!
//! A datagram is longer than the packet in it by its header and by what seals it. The carrier makes room for these in
//! datagrams of [`MAX_DATAGRAM_BYTES`], so the limit that it gives tells the difference.
//!
//! Messages are cut to what any carrier takes and stay so: longer datagrams hold more frames, and what was sent in one
//! fits shorter ones. While the probe timer runs, packets are no longer than the base, so what a path has swallowed for
//! its length is repaired by the first probe.

use units::{ByteCount, Timestamp};

use super::{Connection, LossReason, MtuLost, PathMtu};
use crate::config::{CarrierHint, TransportConfig};
use crate::wire::datagram::MAX_DATAGRAM_BYTES;
use crate::wire::{Content, MsgType, PacketWriter};

/// The search on the present path; `None` where there is none.
#[derive(Debug)]
pub(super) struct Length {
    search: Option<PathMtu>,
    /// Bytes of a datagram around its packet.
    overhead: usize,
}

impl Length {
    pub(super) fn new(config: &TransportConfig) -> Self {
        let max = usize::try_from(config.max_datagram.as_u64()).unwrap_or(MAX_DATAGRAM_BYTES);
        let is_wanted =
            config.carrier == CarrierHint::Datagram && config.time_threshold && max > MAX_DATAGRAM_BYTES;
        Self { search: is_wanted.then(|| PathMtu::new(MAX_DATAGRAM_BYTES, max)), overhead: 0 }
    }

    /// Longest datagram that leaves, but for probes.
    fn current(&self) -> usize {
        self.search.as_ref().map_or(MAX_DATAGRAM_BYTES, PathMtu::current)
    }

    pub(super) fn is_probe(&self, number: u64) -> bool {
        self.search.as_ref().is_some_and(|search| search.is_probe(number))
    }

    /// A probe of `size` bytes left as packet `number`.
    pub(super) fn on_search_sent(&mut self, number: u64, size: usize) {
        let length = size + self.overhead;
        if let Some(search) = &mut self.search {
            search.on_probe_sent(number, length);
        }
    }

    /// Packet `number` came, but not as it had left: a probe is as good as lost, and nothing else is to be learnt.
    pub(super) fn on_damaged(&mut self, now: Timestamp, number: u64, size: ByteCount) {
        if self.is_probe(number) {
            self.on_lost(now, number, size);
        }
    }

    fn on_lost(&mut self, now: Timestamp, number: u64, size: ByteCount) -> MtuLost {
        let length = self.length_of(size);
        self.search.as_mut().map_or(MtuLost::Packet, |search| search.on_lost(now, number, length))
    }

    fn length_of(&self, size: ByteCount) -> usize {
        usize::try_from(size.as_u64()).unwrap_or(usize::MAX).saturating_add(self.overhead)
    }
}

impl Connection {
    /// Segment size in which windows are counted: grows with the datagrams.
    pub(super) fn mss(&self) -> ByteCount {
        self.config.mss + ByteCount((self.length.current() - MAX_DATAGRAM_BYTES) as u64)
    }

    /// Lets a packet be as long as the path is known to carry.
    pub(super) fn lengthen(&mut self, writer: &mut PacketWriter<'_>) {
        // A stream has no such limit.
        let Some(overhead) = MAX_DATAGRAM_BYTES.checked_sub(writer.limit()) else {
            return;
        };
        self.length.overhead = overhead;
        if self.rtt.backoff() == 0 {
            writer.set_limit(self.length.current() - overhead);
        }
    }

    /// Makes the packet, which is empty so far, a probe of the length that the search asks for, if it asks for one. The
    /// path must have answered, and not be silent just now.
    pub(super) fn put_search(&mut self, now: Timestamp, number: u64, writer: &mut PacketWriter<'_>) -> bool {
        let answers = self.rtt.smoothed().is_some() && self.rtt.backoff() == 0;
        if !answers || self.length.overhead == 0 {
            return false;
        }
        let Some(length) = self.length.search.as_mut().and_then(|search| search.poll_probe(now)) else {
            return false;
        };
        let size = length - self.length.overhead;
        writer.set_limit(size);
        let frame = self.own_frame(self.unix_us(now), MsgType::Heartbeat, Content::empty_object(), number);
        let fits = writer.put(&frame);
        writer.pad_to(size);
        self.stats.length_probes += u64::from(fits);
        fits
    }

    /// Packet `number` was acknowledged.
    pub(super) fn note_length_acked(&mut self, now: Timestamp, number: u64, size: ByteCount) {
        let length = self.length.length_of(size);
        let is_gain = self.length.search.as_mut().is_some_and(|search| search.on_acked(now, number, length));
        if is_gain {
            self.controller.on_mss(self.mss());
        }
    }

    /// Packet `number` was declared lost for `reason`. If it was the last of several that were too long, the others under
    /// way share its fate.
    pub(super) fn note_length_lost(
        &mut self,
        now: Timestamp,
        number: u64,
        size: ByteCount,
        reason: LossReason,
    ) -> MtuLost {
        let verdict = self.length.on_lost(now, number, size);
        if verdict == MtuLost::BlackHole {
            self.stats.black_holes += 1;
            self.controller.on_mss(self.mss());
            self.give_up_long(now, reason);
        }
        verdict
    }

    fn give_up_long(&mut self, now: Timestamp, reason: LossReason) {
        let mut from = self.first_undecided;
        while let Some((number, packet)) = self.sent.next_in_flight(from, u64::MAX) {
            from = number + 1;
            if self.length.length_of(packet.size) > MAX_DATAGRAM_BYTES
                && let Some(lost) = self.declare_lost(now, number, reason)
            {
                self.rate.on_lost(lost.size);
            }
        }
    }
}
