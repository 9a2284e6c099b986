//! Transport settings, checked when built, each default with its source.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use units::ByteCount;

use crate::carrier::SMALLEST_BODY_BYTES;
use crate::wire::datagram::{MAX_BODY_BYTES, MAX_DATAGRAM_BYTES};

/// Everything a [`crate::Connection`] can be told. Build one from a [`Profile`] and change what you study.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportConfig {
    pub profile: Profile,
    pub congestion: CongestionControl,
    /// What lies below; [`Connection::set_carrier`](crate::Connection::set_carrier) tells of another one.
    pub carrier: CarrierHint,
    /// What to take for granted instead, whatever lies below. Only for measuring what the hint is worth.
    pub carrier_assumed: Option<CarrierHint>,
    /// Largest frame body of the carrier, in bytes: the segment size in which windows are counted; messages are cut to
    /// [`Self::piece_bytes`]. 1,185 is what fits into a datagram of 1,200 bytes, which nearly every path carries (RFC 9000
    /// section 14).
    pub mss: ByteCount,
    /// Congestion window at the start, in segments.
    pub initial_cwnd: u64,
    /// Slow-start threshold at the start, in segments; `None` is "as high as possible" (RFC 5681 section 3.1).
    pub initial_ssthresh: Option<u64>,
    /// Smallest window of a flow that fills it, in segments. RFC 9002 section 7.2: 2; also the smallest ssthresh of
    /// RFC 5681 equation 4.
    pub min_cwnd: u64,
    /// Smallest window of a flow that lately had nothing waiting, in segments. Such a flow does not cause the losses it
    /// sees; what a smaller window would save is less than the messages it holds back. It has to carry a flow through a
    /// burst of losses: nothing is acknowledged meanwhile, all that was sent stays in flight, and a full window falls
    /// silent until a timer asks. Ten is what any flow may have under way that knows nothing of its path (RFC 6928); of
    /// 50 messages a second over 100 ms with bursts it kept the 99th percentile at 310 ms where four gave seconds. A flow
    /// that has something waiting for a second has the floor of `min_cwnd`.
    pub min_cwnd_thin: u64,
    /// Window after a retransmission timeout, in segments. RFC 5681 section 3.1: 1.
    pub loss_window: u64,
    /// Leave slow start when the RTT rises, before the queue overflows (HyStart++, RFC 9406).
    pub hystart: bool,
    /// Spread the reduction of the window over the recovery (proportional rate reduction, RFC 9937).
    pub prr: bool,
    /// Let packets leave evenly over the RTT (RFC 9002 section 7.7), a little faster than the window needs.
    pub pacing: bool,
    /// Remember how much of the window is really used, and answer congestion from that (RFC 7661). Without it a window
    /// that nobody used for an RTO falls back to its initial size (RFC 5681 section 4.1).
    pub cwnd_validation: bool,
    /// Answer an ECN mark more gently than a loss: it tells of a short queue (RFC 8511).
    pub abe: bool,
    /// CUBIC leaves room sooner when its maximum falls (RFC 9438 section 4.7). Alone on a path it only costs.
    pub fast_convergence: bool,
    /// RTO before the first RTT sample. RFC 6298 (2.1): 1 s.
    pub initial_rto: Duration,
    /// RTT assumed by the probe timer before the first sample (RFC 9002 section 6.2.2: 333 ms);
    /// [`Connection::set_initial_rtt`](crate::Connection::set_initial_rtt) knows better.
    pub initial_rtt: Duration,
    /// Lower clamp of the probe timeout (`modern`). It only matters on short paths: below 20 ms a peer that was not
    /// scheduled for a moment would be probed in vain, and nobody who reads notices 20 ms.
    pub pto_min: Duration,
    /// The second of two probes follows the first after this, because what lost the first in a burst loses its neighbour
    /// too. Bursts on wireless links last a few milliseconds.
    pub probe_spacing: Duration,
    /// Datagrams are marked ECT(0), and marks that come back count as congestion (RFC 9000 section 13.4). Only where the
    /// socket can set and read the codepoint.
    pub ecn: bool,
    /// Longest datagram to search for, in bytes of UDP payload; nothing is searched at or below 1,200 (RFC 8899). Only
    /// where the socket forbids fragments. 1,452 is what Ethernet carries under either IP.
    pub max_datagram: ByteCount,
    /// Now and then a packet number is skipped, drawn from this seed, so that a peer that acknowledges what it has not
    /// seen gives itself away (RFC 9000 section 21.4). On datagrams only: over a stream clients may acknowledge
    /// everything up to the newest. `None`: never.
    pub skip_seed: Option<u64>,
    /// Lower clamp of the RTO. RFC 6298 (2.4): 1 s; Linux and our `modern` profile: 200 ms.
    pub rto_min: Duration,
    /// Upper clamp of the RTO, backoff included. RFC 6298 (2.5): at least 60 s.
    pub rto_max: Duration,
    /// How many later packets must be acknowledged before an earlier one counts as lost (RFC 5681: three).
    pub packet_threshold: u64,
    /// Also declare packets lost by time, 9/8 RTT after a later one was acknowledged (RFC 9002 section 6.1.2), and probe
    /// the tail before the RTO (RFC 8985 section 7).
    pub time_threshold: bool,
    /// How long an acknowledgement may wait for company. A gap or a second packet sends it at once.
    pub max_ack_delay: Duration,
    /// Transmissions of one segment before its message fails with an event.
    pub max_attempts: u32,
    /// What is sent more than once before it is known to be lost; nothing of it above a byte stream.
    pub redundancy: Redundancy,
    /// Message bytes the receiver holds before the application takes them. At least
    /// [`INITIAL_WINDOW`](crate::connection::INITIAL_WINDOW), which a peer takes it to be before the first ack.
    pub receive_window: ByteCount,
    /// Messages waiting to be sent or acknowledged; sending more is refused with an error.
    pub max_queued_messages: usize,
    /// Their content, in bytes.
    pub max_queued_bytes: ByteCount,
    /// Largest message, all fragments together.
    pub max_message: ByteCount,
    /// Open channels in each direction.
    pub max_channels: usize,
    /// With nothing else to send, a heartbeat is sent this often; it must be acknowledged like any packet.
    pub heartbeat: Duration,
    /// A peer that was not heard from for so long is dead.
    pub idle_timeout: Duration,
    /// Chance inside the transport: how long BBR waits between probes. The same seed gives the same trace; connections
    /// that share a bottleneck should differ.
    pub seed: u64,
    /// BBR: largest share of packets, in thousandths, that may be taken for loss that does not depend on the sending
    /// rate, once that was shown; 0 treats all loss as congestion, as the draft does. 200: radio links lose less, and at
    /// more no window helps.
    pub loss_floor_max_permille: u64,
}

/// What is sent more than once before it is known to be lost, and only while the flow is thin, loss is real, and the queue
/// does not grow; see `docs/PROTOCOL.md` section 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Redundancy {
    /// Nothing.
    Off,
    /// Each retransmission, a second time a few milliseconds later.
    #[default]
    Twice,
    /// That, and the last new segments along with those that follow them.
    Bundle(BundleConfig),
}

/// Limits of [`Redundancy::Bundle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleConfig {
    /// Copies of each segment, 1 to 3; fewer when the measured loss is low.
    pub copies_max: u8,
    /// A copy of an unordered message, or on a flow with long gaps, leaves alone after this.
    pub solo_delay: Duration,
    /// A flow above this rate, in bytes per second, copies and headers included, is not thin.
    pub rate_max: ByteCount,
}

impl Default for BundleConfig {
    fn default() -> Self {
        Self { copies_max: 3, solo_delay: Duration::from_millis(10), rate_max: ByteCount(64_000) }
    }
}

/// What a connection may take for granted of its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum CarrierHint {
    /// Packets may get lost, overtake each other and come twice.
    #[default]
    Datagram,
    /// A byte stream, which repairs its own losses and keeps the order. A packet that is overtaken was dropped by
    /// something that takes frames apart; what is only late is being sent again below, and sending it here too would
    /// make two of one.
    FifoStream,
}

/// Named sets of constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// The textbook: Reno, initial cwnd 1 MSS, ssthresh 64 MSS, RTO 1 to 60 s, every packet acknowledged at once, no
    /// pacing.
    Classic,
    /// What stacks do today: CUBIC with HyStart++, PRR and pacing, initial window 10, RTO from 200 ms, time threshold and
    /// tail probe.
    #[default]
    Modern,
}

/// Which controller counts the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CongestionControl {
    /// NewReno (RFC 5681, RFC 6582), in bytes.
    Reno,
    /// CUBIC (RFC 9438), in integers.
    Cubic,
    /// BBRv3 (draft-ietf-ccwg-bbr): a model of rate and round-trip time.
    Bbr,
    /// A constant window of so many segments.
    Fixed { segments: u64 },
}

impl TransportConfig {
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        match profile {
            Profile::Classic => Self {
                profile,
                congestion: CongestionControl::Reno,
                initial_cwnd: 1,
                initial_ssthresh: Some(64),
                min_cwnd_thin: 2,
                loss_window: 1,
                hystart: false,
                prr: false,
                pacing: false,
                cwnd_validation: false,
                abe: false,
                skip_seed: None,
                rto_min: Duration::from_secs(1),
                rto_max: Duration::from_secs(60),
                time_threshold: false,
                max_ack_delay: Duration::ZERO,
                redundancy: Redundancy::Off,
                ..Self::new(Profile::Modern)
            },
            Profile::Modern => Self {
                profile,
                congestion: CongestionControl::Cubic,
                carrier: CarrierHint::Datagram,
                carrier_assumed: None,
                mss: ByteCount(MAX_BODY_BYTES as u64),
                initial_cwnd: 10,
                initial_ssthresh: None,
                min_cwnd: 2,
                min_cwnd_thin: 10,
                loss_window: 2,
                hystart: true,
                prr: true,
                pacing: true,
                cwnd_validation: true,
                abe: true,
                fast_convergence: true,
                initial_rto: Duration::from_secs(1),
                initial_rtt: Duration::from_millis(333),
                pto_min: Duration::from_millis(20),
                probe_spacing: Duration::from_millis(4),
                ecn: false,
                max_datagram: ByteCount(MAX_DATAGRAM_BYTES as u64),
                skip_seed: None,
                rto_min: Duration::from_millis(200),
                // Chat after a long outage should not wait a minute for its next try.
                rto_max: Duration::from_secs(5),
                packet_threshold: 3,
                time_threshold: true,
                max_ack_delay: Duration::from_millis(5),
                max_attempts: 30,
                redundancy: Redundancy::Twice,
                receive_window: ByteCount(1 << 20),
                max_queued_messages: 4096,
                max_queued_bytes: ByteCount(4 << 20),
                max_message: ByteCount(1 << 20),
                max_channels: 1024,
                heartbeat: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(20),
                seed: 0,
                loss_floor_max_permille: 200,
            },
        }
    }
}

impl TransportConfig {
    /// Longest frame body that messages are cut to, in bytes. A piece that has left keeps its number and cannot be cut
    /// again, so it has to fit whatever carrier the session may go on over, and the smallest is a sealed datagram: 20
    /// bytes less than the segment in which windows are counted. Segments longer than a datagram are only for sessions
    /// that stay on streams.
    #[must_use]
    pub fn piece_bytes(&self) -> ByteCount {
        if self.mss > ByteCount(MAX_BODY_BYTES as u64) {
            return self.mss;
        }
        self.mss.min(ByteCount(SMALLEST_BODY_BYTES as u64))
    }

    /// The same for datagrams of a socket that sets and reads ECN and forbids fragments: both are used in `modern`.
    #[must_use]
    pub fn with_capable_socket(self) -> Self {
        match self.profile {
            Profile::Classic => self,
            Profile::Modern => Self { ecn: true, max_datagram: ByteCount(ETHERNET_DATAGRAM), ..self },
        }
    }
}

/// A frame of 1,500 bytes less the headers of IPv6 and UDP.
const ETHERNET_DATAGRAM: u64 = 1452;

impl Default for TransportConfig {
    fn default() -> Self {
        Self::new(Profile::Modern)
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "classic" => Ok(Self::Classic),
            "modern" => Ok(Self::Modern),
            _ => Err(format!("\"{text}\" is not a profile; write classic or modern")),
        }
    }
}

impl FromStr for CongestionControl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reno" => return Ok(Self::Reno),
            "cubic" => return Ok(Self::Cubic),
            "bbr" => return Ok(Self::Bbr),
            _ => {}
        }
        let segments =
            text.strip_prefix("fixed:").and_then(|count| count.parse().ok()).filter(|&count| count > 0);
        segments.map(|segments| Self::Fixed { segments }).ok_or_else(|| {
            format!("\"{text}\" is not a controller; write reno, cubic, bbr, or fixed:32 for 32 segments")
        })
    }
}

impl FromStr for Redundancy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "twice" => Ok(Self::Twice),
            "bundle" => Ok(Self::Bundle(BundleConfig::default())),
            _ => Err(format!("\"{text}\" is not a kind of redundancy; write off, twice or bundle")),
        }
    }
}
