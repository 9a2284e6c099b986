//! Congestion control: how many bytes may be in flight, and how fast they may leave.
//!
//! A [`Controller`] is told what was sent, acknowledged and lost, and answers with a window in bytes and a pacing rate.
//! It sees no packets, timers or sockets. To add one, write a file here and one line in [`build`]; one that answers losses
//! writes only how it grows ([`Avoidance`]) and shares the rest ([`LossBased`]).
//!
//! Acks and losses of one event come together in one [`AckBatch`]: BBR weighs them against each other, and proportional
//! rate reduction asks whether an ack brought new losses.

mod avoidance;
mod bbr;
mod cubic;
mod fixed;
mod loss_based;
mod prr;
mod rate;
mod reno;
mod slow_start;
mod validation;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

use crate::config::{CongestionControl, TransportConfig};

pub use avoidance::{Avoidance, AvoidanceAck, Ratio};
pub use bbr::Bbr;
pub use cubic::Cubic;
pub use fixed::Fixed;
pub use loss_based::LossBased;
pub use prr::{Prr, PrrAck};
pub use rate::{Delivery, RateSample, RateSampler};
pub use reno::Reno;
pub use slow_start::{Classic, Growth, HyStart, SlowStart};

/// What the connection tells its controller, in the order in which it happens. Sizes are bytes of packets as they leave
/// the connection.
pub trait Controller: Debug + Send {
    /// A packet that counts in flight has left.
    fn on_sent(&mut self, _sent: &SentPacket) {}

    /// Something is about to be sent, the first for longer than a retransmission timeout (RFC 5681 section 4.1).
    fn on_idle(&mut self) {}

    /// An ack came or the loss timer fired; `batch` holds everything that follows from it.
    fn on_acks(&mut self, batch: &AckBatch<'_>);

    /// The retransmission timer fired and declared packets lost (RFC 6298 section 5.4); only in the `classic` profile.
    fn on_timeout(&mut self, timeout: &Timeout);

    /// Everything sent over a long time was lost (RFC 9002 section 7.6).
    fn on_persistent_congestion(&mut self, now: Timestamp);

    /// Every loss of the latest reduction proved spurious: what it took may be given back.
    fn on_spurious(&mut self, now: Timestamp);

    /// The path is a new one: begin anew.
    fn on_new_path(&mut self);

    /// The path carries segments of another size now.
    fn on_mss(&mut self, mss: ByteCount);

    /// Bytes that may be in flight.
    fn cwnd(&self) -> ByteCount;

    /// `None` while unlimited.
    fn ssthresh(&self) -> Option<ByteCount>;

    /// Rate at which packets may leave, given the smoothed RTT; `None`: as fast as the window allows.
    fn pacing_rate(&self, srtt: Option<Duration>) -> Option<Bitrate>;

    fn state(&self) -> State;
}

/// A packet that has just left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentPacket {
    pub at: Timestamp,
    pub number: u64,
    pub size: ByteCount,
    /// Bytes in flight before it.
    pub prior_in_flight: ByteCount,
    /// Nothing else waited to be sent.
    pub app_limited: bool,
}

/// What one ack, or one expiry of the loss timer, has settled.
#[derive(Clone, Copy, Debug)]
pub struct AckBatch<'a> {
    pub now: Timestamp,
    /// Packets newly acknowledged, in ascending order.
    pub acked: &'a [AckedPacket],
    /// Packets newly declared lost, in ascending order; losses that say nothing of congestion are not here.
    pub lost: &'a [LostPacket],
    /// Packets newly reported as marked "congestion experienced" (RFC 3168).
    pub ecn_ce: u64,
    /// Bytes in flight before the batch, and after it.
    pub prior_in_flight: ByteCount,
    pub in_flight: ByteCount,
    /// The number that the next packet will have: SND.NXT of RFC 6582.
    pub next_packet: u64,
    pub rtt: RttView,
    /// The rate at which the path delivers, as far as this batch tells.
    pub rate: Option<RateSample>,
}

/// A packet that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckedPacket {
    pub number: u64,
    pub size: ByteCount,
    pub sent_at: Timestamp,
    pub delivery: Delivery,
}

/// A packet declared lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostPacket {
    pub number: u64,
    pub size: ByteCount,
    pub sent_at: Timestamp,
    pub delivery: Delivery,
}

/// RTT as the controller sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RttView {
    /// Sample of this batch; `None` if it brought none.
    pub latest: Option<Duration>,
    pub smoothed: Option<Duration>,
    pub min: Option<Duration>,
}

/// An expiry of the retransmission timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    pub now: Timestamp,
    /// The number that the next packet will have.
    pub next_packet: u64,
    /// Bytes in flight before packets were declared lost: FlightSize of RFC 5681.
    pub flight_size: ByteCount,
    /// Whether the packet had timed out before (RFC 5681 section 3.1 halves only once).
    pub repeated: bool,
}

/// Phase of the controller, for traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    SlowStart,
    /// Conservative slow start of HyStart++ (RFC 9406).
    ConservativeSlowStart,
    CongestionAvoidance,
    FastRecovery,
    /// BBR.
    Startup,
    Drain,
    ProbeBwDown,
    ProbeBwCruise,
    ProbeBwRefill,
    ProbeBwUp,
    ProbeRtt,
}

/// The controller that `config` asks for.
#[must_use]
pub fn build(config: &TransportConfig) -> Box<dyn Controller> {
    match config.congestion {
        CongestionControl::Reno => loss_based(config, Reno::default()),
        CongestionControl::Cubic => loss_based(config, Cubic::new(config.fast_convergence)),
        CongestionControl::Bbr => Box::new(Bbr::new(config)),
        CongestionControl::Fixed { segments } => Box::new(Fixed::new(config, segments)),
    }
}

/// `avoidance` with the slow start that `config` asks for.
fn loss_based(config: &TransportConfig, avoidance: impl Avoidance + 'static) -> Box<dyn Controller> {
    if config.hystart {
        Box::new(LossBased::new(config, avoidance, HyStart::new(config.pacing)))
    } else if config.cwnd_validation {
        Box::new(LossBased::new(config, avoidance, Classic::by_bytes()))
    } else {
        Box::new(LossBased::new(config, avoidance, Classic::textbook()))
    }
}
