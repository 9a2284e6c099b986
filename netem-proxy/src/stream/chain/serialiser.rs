//! A rate: bytes leave one after the other, each for as long as it takes.
//!
//! Times are the model's: the next piece begins when the one before it ended, not when somebody woke up, so that
//! lateness never adds up to a lower rate. A rate of its own serves one connection. A shared one is a clock that all
//! connections of a proxy advance by reserving their next piece; pieces are small, so they take turns.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use units::Timestamp;

/// Serves pieces at a rate.
#[derive(Debug)]
pub(super) struct Serialiser {
    rate: Rate,
    /// When the piece before the one in service ended.
    free_at: Timestamp,
    service: Option<Service>,
}

/// Where the bytes of a rate come from.
#[derive(Clone, Debug)]
pub(super) enum Rate {
    /// Bytes a second; 0 lets nothing pass.
    Own(u64),
    Shared(Arc<SharedRate>),
}

/// The piece at the head of the line.
#[derive(Debug)]
struct Service {
    piece: u64,
    start: Timestamp,
    /// Bytes of it that left before `start`, at earlier rates.
    served: u64,
    /// For a shared rate: the reserved end, and the epoch it was reserved in.
    reserved: Option<(Timestamp, u64)>,
}

impl Serialiser {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, free_at: Timestamp::ZERO, service: None }
    }

    /// When the head piece of a chunk of `len` bytes that came at `arrived` has left; `None` if the rate is 0.
    pub(super) fn due(&mut self, arrived: Timestamp, len: usize) -> Option<Timestamp> {
        let free_at = self.free_at.max(arrived);
        match &self.rate {
            Rate::Own(0) => None,
            Rate::Own(rate) => {
                let service = self.service.get_or_insert_with(|| Service {
                    piece: piece(*rate, len, u64::MAX),
                    start: free_at,
                    served: 0,
                    reserved: None,
                });
                Some(service.start + span(service.piece - service.served, *rate))
            }
            Rate::Shared(shared) => {
                let stale = match &self.service {
                    Some(Service { reserved: Some((due, epoch)), .. }) if *epoch == shared.epoch() => {
                        return Some(*due);
                    }
                    Some(service) => Some(service.piece),
                    None => None,
                };
                let (piece, due, epoch) = shared.reserve(free_at, stale, len)?;
                self.service =
                    Some(Service { piece, start: free_at, served: 0, reserved: Some((due, epoch)) });
                Some(due)
            }
        }
    }

    /// The head piece leaves at `due`; returns its length.
    pub(super) fn release(&mut self, due: Timestamp) -> usize {
        let service = self.service.take().expect("only a piece that was given a due time is released");
        self.free_at = due;
        usize::try_from(service.piece).unwrap_or(usize::MAX)
    }

    /// What of the head piece has left by `now` stays counted; the rest goes at the new rate.
    pub(super) fn set_rate(&mut self, now: Timestamp, rate: Rate) {
        if let (Rate::Own(old), Some(service)) = (&self.rate, &mut self.service)
            && service.start < now
        {
            let passed = u128::from(*old) * now.since(service.start).as_nanos() / NANOS;
            let passed = u64::try_from(passed).unwrap_or(u64::MAX);
            service.served = service.served.saturating_add(passed).min(service.piece);
            service.start = now;
        }
        // What waited while nothing could pass begins now, not in the past.
        self.free_at = self.free_at.max(now);
        let is_same = match (&self.rate, &rate) {
            (Rate::Shared(old), Rate::Shared(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        if !is_same {
            self.give_back();
        }
        self.rate = rate;
        // A piece cut for a fast rate would block a slow one for long.
        let most = piece(self.bytes_per_second(), usize::MAX, u64::MAX);
        if let Some(service) = &mut self.service {
            service.piece = service.piece.min(service.served.saturating_add(most));
        }
    }

    /// A reserved piece that will not leave gives back its time: others would wait for it.
    fn give_back(&mut self) {
        if let (Rate::Shared(shared), Some(service)) = (&self.rate, &mut self.service)
            && let Some((_, epoch)) = service.reserved.take()
        {
            shared.give_back(service.piece, epoch);
        }
    }

    pub(super) fn bytes_per_second(&self) -> u64 {
        match &self.rate {
            Rate::Own(rate) => *rate,
            Rate::Shared(shared) => shared.state().rate,
        }
    }
}

impl Drop for Serialiser {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A rate that all connections of a proxy draw from, whichever thread drives them.
#[derive(Debug)]
pub(in crate::stream) struct SharedRate {
    state: Mutex<SharedState>,
}

#[derive(Debug)]
struct SharedState {
    rate: u64,
    free_at: Timestamp,
    /// Reservations of an earlier epoch were made at another rate and are void.
    epoch: u64,
}

impl SharedRate {
    /// In bytes a second; 0 lets nothing pass.
    pub(in crate::stream) fn new(rate: u64) -> Self {
        Self { state: Mutex::new(SharedState { rate, free_at: Timestamp::ZERO, epoch: 0 }) }
    }

    pub(in crate::stream) fn set_rate(&self, now: Timestamp, rate: u64) {
        let mut state = self.state();
        if state.rate != rate {
            *state = SharedState { rate, free_at: now, epoch: state.epoch + 1 };
        }
    }

    fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// The piece, when it has left, and the epoch; `None` if the rate is 0.
    fn reserve(&self, from: Timestamp, again: Option<u64>, len: usize) -> Option<(u64, Timestamp, u64)> {
        let mut state = self.state();
        if state.rate == 0 {
            return None;
        }
        let piece = again.unwrap_or_else(|| piece(state.rate, len, TURN));
        let due = state.free_at.max(from) + span(piece, state.rate);
        state.free_at = due;
        Some((piece, due, state.epoch))
    }

    /// Pieces reserved later keep their times, and the next one takes the time that is free. By any moment, no more has
    /// left than the rate allows.
    fn give_back(&self, piece: u64, epoch: u64) {
        let mut state = self.state();
        if state.epoch == epoch && state.rate > 0 {
            let nanos = state.free_at.since(Timestamp::ZERO).saturating_sub(span(piece, state.rate));
            state.free_at = Timestamp::ZERO + nanos;
        }
    }

    fn state(&self) -> MutexGuard<'_, SharedState> {
        // A panic elsewhere cannot leave the three numbers half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest piece: a tenth of a second, so that a slow rate trickles instead of pouring once a minute.
fn piece(rate: u64, len: usize, most: u64) -> u64 {
    (rate / PIECES_PER_SECOND).clamp(1, most).min(len as u64)
}

fn span(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(
        u64::try_from((u128::from(bytes) * NANOS).div_ceil(u128::from(rate))).unwrap_or(u64::MAX),
    )
}

const PIECES_PER_SECOND: u64 = 10;

/// The longest turn on a shared rate: of a hundred connections on 100 Mbit/s each gets one every 130 ms.
const TURN: u64 = 16 * 1024;

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(serialiser: &mut Serialiser, mut len: usize) -> Timestamp {
        let mut last = Timestamp::ZERO;
        while len > 0 {
            last = serialiser.due(Timestamp::ZERO, len).expect("a rate");
            len -= serialiser.release(last);
        }
        last
    }

    #[test]
    fn a_rate_is_kept_to_a_nanosecond_a_piece() {
        let mut serialiser = Serialiser::new(Rate::Own(1_000_000));
        assert_eq!(drain(&mut serialiser, 3_000_000), Timestamp::from_secs(3));
    }

    #[test]
    fn half_a_piece_at_one_rate_and_half_at_another() {
        let mut serialiser = Serialiser::new(Rate::Own(1_000));
        // A piece of 100 bytes takes 100 ms; after 50 ms, 50 bytes are left, which take 10 ms at 5000 a second.
        assert_eq!(serialiser.due(Timestamp::ZERO, 500), Some(Timestamp::from_millis(100)));
        serialiser.set_rate(Timestamp::from_millis(50), Rate::Own(5_000));
        assert_eq!(serialiser.due(Timestamp::ZERO, 500), Some(Timestamp::from_millis(60)));
    }

    #[test]
    fn nothing_passes_at_zero_and_nothing_is_owed_afterwards() {
        let mut serialiser = Serialiser::new(Rate::Own(0));
        assert_eq!(serialiser.due(Timestamp::ZERO, 100), None);
        serialiser.set_rate(Timestamp::from_secs(5), Rate::Own(1_000));
        assert_eq!(serialiser.due(Timestamp::ZERO, 100), Some(Timestamp::from_millis(5_100)));
    }

    #[test]
    fn two_connections_take_turns_on_a_shared_rate() {
        let shared = Arc::new(SharedRate::new(1_000_000));
        let mut pair = [(); 2].map(|()| Serialiser::new(Rate::Shared(Arc::clone(&shared))));
        let mut left = [500_000_usize; 2];
        let mut last = [Timestamp::ZERO; 2];
        while left != [0, 0] {
            // The earlier due time goes first, as in a driver.
            let due = [0, 1].map(|n| (left[n] > 0).then(|| pair[n].due(Timestamp::ZERO, left[n])).flatten());
            let n = usize::from(due[0].is_none_or(|a| due[1].is_some_and(|b| b < a)));
            last[n] = due[n].expect("one is left");
            left[n] -= pair[n].release(last[n]);
        }
        assert_eq!(last[0].max(last[1]), Timestamp::from_secs(1));
        assert!(last[0].max(last[1]).since(last[0].min(last[1])) < Duration::from_millis(20), "{last:?}");
    }

    #[test]
    fn a_changed_shared_rate_voids_what_was_reserved() {
        let shared = Arc::new(SharedRate::new(1_000));
        let mut one = Serialiser::new(Rate::Shared(Arc::clone(&shared)));
        assert_eq!(one.due(Timestamp::ZERO, 100), Some(Timestamp::from_millis(100)));
        shared.set_rate(Timestamp::from_millis(50), 100_000);
        one.set_rate(Timestamp::from_millis(50), Rate::Shared(Arc::clone(&shared)));
        assert_eq!(one.due(Timestamp::ZERO, 100), Some(Timestamp::from_millis(51)));
    }

    #[test]
    fn a_connection_that_goes_gives_its_piece_back() {
        let shared = Arc::new(SharedRate::new(1_000));
        let new = || Serialiser::new(Rate::Shared(Arc::clone(&shared)));
        let (mut one, mut other, mut third) = (new(), new(), new());
        assert_eq!(one.due(Timestamp::ZERO, 100), Some(Timestamp::from_millis(100)));
        assert_eq!(other.due(Timestamp::ZERO, 100), Some(Timestamp::from_millis(200)));
        drop(one);
        assert_eq!(other.due(Timestamp::ZERO, 100), Some(Timestamp::from_millis(200)));
        assert_eq!(third.due(Timestamp::ZERO, 100), Some(Timestamp::from_millis(200)));
        // What has left is not given back, nor what was reserved at another rate.
        other.release(Timestamp::from_millis(200));
        drop(other);
        shared.set_rate(Timestamp::from_millis(200), 10_000);
        drop(third);
        assert_eq!(new().due(Timestamp::from_millis(200), 10), Some(Timestamp::from_millis(201)));
    }
}
