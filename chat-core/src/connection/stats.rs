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
    /// Tail probes sent.
    probes,
    /// Packets declared lost.
    packets_lost,
    /// Of these, acknowledged later after all.
    spurious,
    /// Acks that told of a new packet above a hole without moving the hole.
    dup_acks,
    /// Ack frames sent.
    acks_sent,
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
    /// Datagrams received with the mark of a congested router.
    ecn_ce,
    /// Bytes of frame bodies sent.
    bytes_sent,
    /// Trace events lost because nobody drained them.
    trace_overflow,
}
