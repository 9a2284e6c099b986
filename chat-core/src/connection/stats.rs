//! Counters of one connection; they only grow.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters of one connection, this end.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl AddAssign<&Stats> for Stats {
            fn add_assign(&mut self, other: &Stats) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Messages taken from the application.
    messages_out,
    /// Messages of which every byte was acknowledged.
    messages_acked,
    /// Messages given up after the largest number of attempts.
    messages_failed,
    /// Messages passed to the application.
    messages_in,
    /// Numbered packets that carried a segment, retransmissions included.
    segments_sent,
    /// Segments sent again, for whatever reason; probes included.
    retransmits,
    /// Of these, because three later packets were acknowledged.
    fast_retransmits,
    /// Times the retransmission timer fired.
    timeouts,
    /// Times the probe timer fired.
    probe_timeouts,
    /// Packets sent as probes.
    probes,
    /// Packets declared lost.
    packets_lost,
    /// Of these, acknowledged later after all.
    spurious,
    /// Reductions of the window given back, because each of their losses was spurious.
    undone,
    /// Times that everything sent over a long time was lost.
    persistent_congestion,
    /// Packets of ours that the peer reports as marked by a congested router.
    ecn_ce_told,
    /// Times a path turned out to spoil ECN marks.
    ecn_failures,
    /// Packets sent to find out how long a datagram the path carries.
    length_probes,
    /// Times that a path stopped carrying the length which it had carried.
    black_holes,
    /// Acks that told of a new packet above a hole without moving the hole.
    dup_acks,
    /// Ack frames sent.
    acks_sent,
    /// Of these, in a packet that the peer acknowledges.
    acks_numbered,
    /// Numbered packets received.
    packets_received,
    /// Of these, already known by packet number.
    duplicate_packets,
    /// Messages received again under another packet number and dropped.
    duplicate_messages,
    /// Messages not taken because the receive window or another bound was full.
    refused_no_room,
    /// Frames that arrived damaged.
    checksum_errors,
    /// Times that sending stopped for an old message of a channel: so many numbers above it were open as the peer remembers.
    span_stalls,
    /// Segments sent once more before they were known to be lost, retransmissions of probes not counted.
    redundant_segments,
    /// Their bytes, as part of `bytes_sent`; with a packet of their own, all of it.
    redundant_bytes,
    /// Segments that a copy saved: their own transmission got lost, and a copy arrived.
    rescued,
    /// Copies left out because the congestion window or the pacer had no room.
    copies_withheld,
    /// Latest-only messages that arrived after a newer one and were dropped.
    messages_outdated,
    /// Packets received with the mark of a congested router.
    ecn_ce,
    /// Bytes of frame bodies sent.
    bytes_sent,
    /// Trace events lost because nobody drained them.
    trace_overflow,
}
