//! Proportional rate reduction (RFC 9937): how a window gets from where a loss found it to ssthresh.
//!
//! Setting the window to ssthresh at once silences the sender for half an RTT and then lets a burst go. This spreads the
//! reduction over the acks of one round: while more than ssthresh is in flight, what leaves is to what arrives as
//! ssthresh is to the flight that saw the loss; when losses took more than that, what leaves equals what arrives, and one
//! segment more for each ack that shows progress. It bounds what may be in flight, and is told what was sent.

/// One recovery. All sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prr {
    ssthresh: u64,
    /// RecoverFS of section 6: bytes in flight when the loss was seen, those that arrived with that ack included.
    flight: u64,
    delivered: u64,
    sent: u64,
}

/// One ack during a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrrAck {
    /// Bytes newly acknowledged, in whatever order.
    pub delivered: u64,
    /// Bytes in flight after it, without what is declared lost.
    pub in_flight: u64,
    /// The oldest hole is filled and no new loss was seen (SafeACK).
    pub is_safe: bool,
    pub mss: u64,
}

impl Prr {
    /// A recovery towards `ssthresh` begins, with `prior_in_flight` bytes in flight before the ack that tells of it.
    #[must_use]
    pub fn new(ssthresh: u64, prior_in_flight: u64) -> Self {
        Self { ssthresh, flight: prior_in_flight.max(1), delivered: 0, sent: 0 }
    }

    /// Window after an ack. An ack that delivers nothing changes nothing.
    pub fn on_ack(&mut self, ack: &PrrAck) -> Option<u64> {
        if ack.delivered == 0 {
            return None;
        }
        self.delivered = self.delivered.saturating_add(ack.delivered);
        let mut allowance = if ack.in_flight > self.ssthresh {
            self.proportional().saturating_sub(self.sent)
        } else {
            self.bounded(ack)
        };
        // The first retransmission leaves at once.
        if self.sent == 0 && allowance == 0 {
            allowance = ack.mss;
        }
        Some(ack.in_flight.saturating_add(allowance))
    }

    /// `bytes` left during the recovery.
    pub fn on_sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// What may have left by now: ceil(delivered * ssthresh / RecoverFS).
    fn proportional(&self) -> u64 {
        let scaled = u128::from(self.delivered) * u128::from(self.ssthresh);
        u64::try_from(scaled.div_ceil(u128::from(self.flight))).unwrap_or(u64::MAX)
    }

    /// Packet conservation (CRB), and slow start (SSRB) while acks are safe; never beyond ssthresh.
    fn bounded(&self, ack: &PrrAck) -> u64 {
        let conserved = self.delivered.saturating_sub(self.sent).max(ack.delivered);
        let allowed = if ack.is_safe { conserved.saturating_add(ack.mss) } else { conserved };
        allowed.min(self.ssthresh - ack.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 segments are in flight and the first `lost` of them are lost; every other one is acknowledged by itself. The
    /// third ack tells of the loss; the two before let one new segment go each (RFC 3042). Returns the window in segments
    /// after each ack, and what it let go: N for new, R for a retransmission.
    fn recovery(segment: u64, lost: u64, acks: u64) -> (Vec<u64>, String) {
        let (mut windows, mut sent) = (vec![], String::new());
        let (mut in_flight, mut to_resend, mut prr) = (20 * segment, 0, None);
        for ack in 1..=acks {
            let prior = in_flight;
            in_flight -= segment;
            if ack == 3 {
                in_flight -= lost * segment;
                to_resend = lost;
                prr = Some(Prr::new(10 * segment, prior));
            }
            let arrival = PrrAck { delivered: segment, in_flight, is_safe: false, mss: segment };
            let window = prr.as_mut().map_or(20 * segment, |prr| prr.on_ack(&arrival).expect("it delivers"));
            windows.push(window / segment);
            while in_flight + segment <= window {
                in_flight += segment;
                sent.push(if to_resend > 0 { 'R' } else { 'N' });
                to_resend = to_resend.saturating_sub(1);
                if let Some(prr) = &mut prr {
                    prr.on_sent(segment);
                }
            }
            sent.push(' ');
        }
        (windows, sent)
    }

    #[test]
    fn one_loss_of_twenty_halves_the_window_evenly() {
        // RFC 9937 figure 1, which counts in segments; the ack of the retransmission, the 22nd, ends the recovery. At the
        // 19th, as many are in flight as ssthresh; the figure has 11 there and sends, the text of section 6, which asks for
        // more than ssthresh, has 10 and sends with the 20th.
        let (windows, sent) = recovery(1, 1, 21);
        assert_eq!(
            windows,
            [20, 20, 19, 18, 18, 17, 17, 16, 16, 15, 15, 14, 14, 13, 13, 12, 12, 11, 10, 10, 10]
        );
        assert_eq!(sent, "N N R  N  N  N  N  N  N  N   N N ");
    }

    #[test]
    fn fifteen_losses_of_twenty_conserve_packets() {
        // RFC 9937 figure 2, in segments and in bytes.
        for segment in [1, 1000] {
            let (windows, sent) = recovery(segment, 15, 5);
            assert_eq!(windows, [20, 20, 5, 5, 5]);
            assert_eq!(sent, "N N R R R ");
        }
    }

    #[test]
    fn in_bytes_a_segment_leaves_when_all_of_it_is_due() {
        let (windows, sent) = recovery(1000, 1, 21);
        assert_eq!(
            windows,
            [20, 20, 18, 18, 17, 17, 16, 16, 15, 15, 14, 14, 13, 13, 12, 12, 11, 10, 10, 10, 10]
        );
        assert_eq!(sent.matches(['R', 'N']).count(), 2 + 10, "{sent}");
    }

    #[test]
    fn an_ack_that_shows_progress_lets_one_segment_more_go() {
        const SEGMENT: u64 = 1000;
        let mut prr = Prr::new(10 * SEGMENT, 20 * SEGMENT);
        let ack = PrrAck { delivered: SEGMENT, in_flight: 4 * SEGMENT, is_safe: false, mss: SEGMENT };
        assert_eq!(prr.clone().on_ack(&ack), Some(5 * SEGMENT));
        assert_eq!(prr.on_ack(&PrrAck { is_safe: true, ..ack }), Some(6 * SEGMENT));
    }

    #[test]
    fn nothing_beyond_ssthresh_and_nothing_for_nothing() {
        const SEGMENT: u64 = 1000;
        let mut prr = Prr::new(10 * SEGMENT, 20 * SEGMENT);
        let ack = PrrAck { delivered: 0, in_flight: 9 * SEGMENT, is_safe: true, mss: SEGMENT };
        assert_eq!(prr.on_ack(&ack), None);
        assert_eq!(prr.on_ack(&PrrAck { delivered: 8 * SEGMENT, ..ack }), Some(10 * SEGMENT));
    }
}
