//! A small language for what a sender must do, line by line, after the manner of packetdrill
//! (<https://github.com/google/packetdrill>): the script plays the application and the peer, the connection is real, and
//! time is virtual.
//!
//! ```text
//! config profile modern        # before anything else: profile, congestion, initial-cwnd, … (see `parse`)
//! +0    send 10                # the application queues ten messages, each one full segment
//! +0    > data 1..10           # segments that must leave at this very moment, in this order
//! +.100 < ack 1 sack 3..5      # 100 ms later: everything below segment 1 arrived, and 3 to 5
//! +0    > data 1               # a retransmission is the same segment again
//! +0    < packets 11           # an ack in packet numbers, where it matters which transmission arrived
//! +.3   > ping                 # a heartbeat that asks for an ack
//! +0    ? cwnd == 7            # in segments, to the nearest; ssthresh, in_flight, timeouts, state … (see `run`)
//! ```
//! Segments count from 1 in the order of sending; `ack` and `sack` name segments as TCP does, and acknowledge the oldest
//! transmission of each that is still unanswered. Time is relative to the line before. Whatever leaves without being
//! expected fails the script, with the time at which it left.

mod parse;
mod run;

pub(crate) use parse::Script;
