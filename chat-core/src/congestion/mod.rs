//! Congestion control: how many bytes may be in flight.
//!
//! A [`Controller`] is told what was acknowledged and what was lost, and answers with a window in bytes. It sees no
//! packets, timers or sockets. To add one, write a file here and one line in [`build`].

mod fixed;
mod reno;

use std::fmt::Debug;

use units::{ByteCount, Timestamp};

use crate::config::{CongestionControl, TransportConfig};

pub use fixed::Fixed;
pub use reno::Reno;

/// What the connection tells its controller, in the order in which it happens. Sizes are bytes of frame bodies.
pub trait Controller: Debug + Send {
    /// One ack frame newly acknowledged `acked`. Called after [`Self::on_loss`] for losses of the same ack.
    fn on_ack(&mut self, now: Timestamp, acked: &AckedPackets<'_>);

    /// An ack showed that packets were lost; `loss` describes all of them together.
    fn on_loss(&mut self, now: Timestamp, loss: &LostPackets);

    /// The retransmission timer fired.
    fn on_timeout(&mut self, now: Timestamp, loss: &LostPackets);

    /// The path is a new one: begin anew.
    fn on_new_path(&mut self);

    /// Bytes that may be in flight.
    fn cwnd(&self) -> ByteCount;

    /// `None` while unlimited.
    fn ssthresh(&self) -> Option<ByteCount>;

    fn state(&self) -> State;
}

/// What one ack frame newly acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct AckedPackets<'a> {
    /// Packet number and size of each.
    pub packets: &'a [(u64, ByteCount)],
    /// Bytes in flight before this ack was taken in.
    pub prior_in_flight: ByteCount,
}

/// Packets declared lost together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostPackets {
    /// Highest packet number among them.
    pub largest: u64,
    /// The number that the next packet will have: SND.NXT of RFC 6582.
    pub next_packet: u64,
    /// Bytes in flight before they were declared lost: FlightSize of RFC 5681.
    pub flight_size: ByteCount,
    /// For a timeout: whether the packet had timed out before (RFC 5681 section 3.1 halves only once).
    pub repeated: bool,
}

/// Phase of the controller, for traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    SlowStart,
    CongestionAvoidance,
    FastRecovery,
}

/// The controller that `config` asks for.
#[must_use]
pub fn build(config: &TransportConfig) -> Box<dyn Controller> {
    match config.congestion {
        CongestionControl::Reno => Box::new(Reno::new(config)),
        CongestionControl::Fixed { segments } => Box::new(Fixed::new(config, segments)),
    }
}
