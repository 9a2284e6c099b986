//! A peer whose address changes keeps its connection.
//!
//! A NAT that forgets a flow gives it another port; a phone goes from one network to the next. The peer knows nothing of
//! the first, so it is the other side that notices: news (a packet, or an ack, that only the peer can have sent just
//! now) comes from another address. What we send goes on to the old address until the new one has answered a challenge
//! of eight random bytes (RFC 9000 section 9.3), and until then the new one is sent at most three times what came
//! from it.
//!
//! **Theft.** Whoever can copy datagrams and be faster than the network looks like a peer that moved. So the old address is
//! challenged, too (RFC 9000 section 9.3.3): a peer that still is there answers *from* there, which ends the
//! attempt. RFC 9000 lets a response on any path validate the one that was challenged; here it must come from the
//! challenged address, because where it comes from is what tells a peer that moved (both answers come from the new
//! address) from one that was copied (an answer comes from the old).
//!
//! Left out: moves that the peer plans itself, with a second address while the first still works (section 9.2).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use units::{Rng, Timestamp};

/// Random bytes of a challenge, and of the response to it.
pub type ChallengeData = [u8; 8];

/// The addresses of one datagram peer.
///
/// Feed [`on_datagram`](Self::on_datagram), [`on_news`](Self::on_news), [`on_response`](Self::on_response) or
/// [`handle_timeout`](Self::handle_timeout); then drain [`poll_challenge`](Self::poll_challenge) and
/// [`poll_event`](Self::poll_event), and wait until [`poll_timeout`](Self::poll_timeout).
#[derive(Clone, Debug)]
pub struct Paths {
    active: SocketAddr,
    candidate: Option<Candidate>,
    /// After an attempt that the old address refuted: no other before this.
    quiet_until: Timestamp,
    events: VecDeque<PathEvent>,
}

/// An address that may be the peer's new one.
#[derive(Clone, Debug)]
struct Candidate {
    address: SocketAddr,
    /// For the new address and for the old.
    data: ChallengeData,
    data_for_active: ChallengeData,
    /// When the challenges leave again, and how long after that the next time.
    next: Timestamp,
    interval: Duration,
    rounds: u32,
    /// Challenges that wait to leave.
    due: Due,
    /// The response came; the move waits for an objection of the old address until then.
    decide_at: Timestamp,
    is_answered: bool,
    received_bytes: u64,
    sent_bytes: u64,
}

/// Which challenges are to leave now.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    candidate: bool,
    active: bool,
}

/// To be sent to `to` and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub to: SocketAddr,
    pub data: ChallengeData,
}

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathEvent {
    /// Everything goes to `to` from now on.
    Moved { from: SocketAddr, to: SocketAddr },
    /// It did not answer, or the peer was heard from its old address again.
    Failed { to: SocketAddr },
    /// The peer answered from its old address: somebody copies its datagrams.
    Refuted { to: SocketAddr },
}

impl PathEvent {
    /// Whether only the port changed: most likely a NAT, and the same network behind it, so that round-trip time and
    /// congestion window stay true (RFC 9000 section 9.4).
    #[must_use]
    pub fn is_same_host(&self) -> bool {
        matches!(self, Self::Moved { from, to } if from.ip() == to.ip())
    }
}

impl Paths {
    /// A peer whose address was proved, or is trusted.
    #[must_use]
    pub fn new(active: SocketAddr) -> Self {
        Self { active, candidate: None, quiet_until: Timestamp::ZERO, events: VecDeque::new() }
    }

    /// Where the peer is sent to.
    #[must_use]
    pub fn active(&self) -> SocketAddr {
        self.active
    }

    /// Any datagram of this peer came from `from`; counts it for what may be sent back.
    pub fn on_datagram(&mut self, from: SocketAddr, bytes: usize) {
        if let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.address == from) {
            candidate.received_bytes += bytes as u64;
        }
    }

    /// A datagram of `bytes` bytes from `from` was genuine and brought something that no earlier one did. `rtt` is the
    /// connection's, for the pace of the challenges; copies and stragglers of an old address are no news.
    pub fn on_news(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        bytes: usize,
        rtt: Option<Duration>,
        rng: &mut Rng,
    ) {
        if from == self.active {
            // It is where it was.
            self.give_up();
            return;
        }
        let is_known = self.candidate.as_ref().is_some_and(|candidate| candidate.address == from);
        if is_known || now < self.quiet_until {
            return;
        }
        self.give_up();
        let rtt = rtt.unwrap_or(RTT_UNKNOWN);
        self.candidate = Some(Candidate {
            address: from,
            data: rng.random(),
            data_for_active: rng.random(),
            next: now,
            interval: (rtt * 2).clamp(INTERVAL_MIN, INTERVAL_MAX),
            rounds: 0,
            due: Due::default(),
            decide_at: now + rtt * 3 / 2,
            is_answered: false,
            received_bytes: bytes as u64,
            sent_bytes: 0,
        });
        self.handle_timeout(now);
    }

    /// A response to a challenge came from `from`. One that nobody asked for does nothing.
    pub fn on_response(&mut self, now: Timestamp, from: SocketAddr, data: ChallengeData) {
        let active = self.active;
        let Some(candidate) = &mut self.candidate else {
            return;
        };
        if from == active && data == candidate.data_for_active {
            let to = candidate.address;
            self.candidate = None;
            self.quiet_until = now + QUIET;
            self.events.push_back(PathEvent::Refuted { to });
        } else if from == candidate.address && data == candidate.data {
            candidate.is_answered = true;
            self.handle_timeout(now);
        }
    }

    /// Does what is due. Calls that come early do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let Some(candidate) = &mut self.candidate else {
            return;
        };
        if candidate.is_answered {
            if candidate.decide_at <= now {
                let (from, to) = (self.active, candidate.address);
                self.active = to;
                self.candidate = None;
                self.events.push_back(PathEvent::Moved { from, to });
            }
            return;
        }
        if now < candidate.next {
            return;
        }
        if candidate.rounds == ROUNDS {
            self.give_up();
            return;
        }
        candidate.rounds += 1;
        candidate.next = now + candidate.interval;
        candidate.interval = (candidate.interval * 2).min(INTERVAL_MAX);
        candidate.due = Due { candidate: true, active: true };
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let candidate = self.candidate.as_ref()?;
        Some(if candidate.is_answered { candidate.decide_at } else { candidate.next })
    }

    /// The next challenge to send. Ask [`Self::permit`] with its length before it leaves.
    pub fn poll_challenge(&mut self) -> Option<Challenge> {
        let active = self.active;
        let candidate = self.candidate.as_mut()?;
        if std::mem::take(&mut candidate.due.candidate) {
            return Some(Challenge { to: candidate.address, data: candidate.data });
        }
        std::mem::take(&mut candidate.due.active)
            .then_some(Challenge { to: active, data: candidate.data_for_active })
    }

    /// Whether a datagram of `bytes` bytes may go to `to`; counts it if so. An address that has not answered yet gets at
    /// most three times what came from it (RFC 9000 section 8.1).
    pub fn permit(&mut self, to: SocketAddr, bytes: usize) -> bool {
        if to == self.active {
            return true;
        }
        let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.address == to) else {
            return false;
        };
        let sent_bytes = candidate.sent_bytes + bytes as u64;
        let is_allowed = sent_bytes <= AMPLIFICATION * candidate.received_bytes;
        if is_allowed {
            candidate.sent_bytes = sent_bytes;
        }
        is_allowed
    }

    /// What became of an address; drain it after every input.
    pub fn poll_event(&mut self) -> Option<PathEvent> {
        self.events.pop_front()
    }

    fn give_up(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            self.events.push_back(PathEvent::Failed { to: candidate.address });
        }
    }
}

/// RFC 9000 section 8.1.
const AMPLIFICATION: u64 = 3;
/// Challenges to one address before it is given up. The next news from it begins anew.
const ROUNDS: u32 = 5;
/// Pace of the first repetition: two round trips, within these. Sooner than RFC 9000's three PTO (section 8.2.4): until
/// the path is found, everything that we send is lost.
const INTERVAL_MIN: Duration = Duration::from_millis(50);
const INTERVAL_MAX: Duration = Duration::from_secs(1);
/// The round trip of a connection that has no sample yet: RFC 9002 section 6.2.2 takes 333 ms.
const RTT_UNKNOWN: Duration = Duration::from_millis(333);
/// After an attempted theft: one attempt a second costs both sides two small datagrams.
const QUIET: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
