//! Arrival times from the kernel's receive stamps.
//!
//! A datagram has arrived when the kernel got it, not when this process woke up to read it. The kernel stamps it with
//! the wall clock, which may step; links live on the monotonic clock. So the offset between the two is measured anew
//! for each batch, and what comes out is held between two times that are certain: the datagram was not there when the
//! socket was last found empty, and it is here now. After an idle time the first of them is long ago, so a stamp far
//! back, which comes of a clock that was set forward in between, counts for nothing.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use units::{Clock, Timestamp};

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Nanoseconds since the Unix epoch.
    wall: i128,
    here: Timestamp,
}

impl Moment {
    /// Reads the wall clock between two looks at the other, again if something came in between.
    pub(super) fn read(clock: Clock) -> Self {
        let mut best: Option<(Duration, Self)> = None;
        for _ in 0..ATTEMPTS {
            let before = clock.now();
            let wall = clock_gettime(ClockId::Realtime);
            let after = clock.now();
            let width = after.since(before);
            let wall = i128::from(wall.tv_sec) * 1_000_000_000 + i128::from(wall.tv_nsec);
            if best.is_none_or(|(least, _)| width < least) {
                best = Some((width, Self { wall, here: before + width / 2 }));
            }
            if width < GOOD {
                break;
            }
        }
        best.expect("at least one attempt").1
    }

    #[cfg(test)]
    fn at(wall: Duration, here: Timestamp) -> Self {
        Self { wall: wall.as_nanos() as i128, here }
    }

    /// When a datagram stamped `stamp` (since the Unix epoch) arrived, within `earliest..=now`; `now` if the stamp is
    /// not to be believed.
    pub(super) fn arrival(self, stamp: Option<Duration>, earliest: Timestamp, now: Timestamp) -> Timestamp {
        let Some(stamp) = stamp else { return now };
        let nanos = i128::from(self.here.as_nanos()) - self.wall + stamp.as_nanos() as i128;
        if nanos + MAX_AGE.as_nanos() as i128 <= i128::from(now.as_nanos()) {
            return now;
        }
        let arrived = Timestamp::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX));
        arrived.min(now).max(earliest.min(now))
    }
}

/// A stamp from before this long ago is one of another setting of the clock. A datagram waits in its socket for as long
/// as this thread is not scheduled, which is milliseconds; and the socket's buffer holds half a second of 64 Mbit/s.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Two looks at the clocks take about 60 ns; up to this the error, half of it, is beneath notice.
const GOOD: Duration = Duration::from_nanos(400);

/// An interrupt in every one of them is not worth a fourth.
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Duration = Duration::from_secs(1_800_000_000);

    fn us(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn a_stamp_is_moved_by_the_offset_of_the_clocks() {
        let moment = Moment::at(WALL, us(500));
        let stamp = WALL - Duration::from_micros(120);
        assert_eq!(moment.arrival(Some(stamp), us(100), us(501)), us(380));
    }

    #[test]
    fn no_stamp_means_now() {
        assert_eq!(Moment::at(WALL, us(500)).arrival(None, us(100), us(501)), us(501));
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_no_arrival_out_of_what_is_possible() {
        let moment = Moment::at(WALL, us(500));
        let (hour, earliest, now) = (Duration::from_secs(3600), us(100), us(501));
        assert_eq!(moment.arrival(Some(WALL - 100 * GOOD), earliest, now), us(460));
        assert_eq!(moment.arrival(Some(WALL - Duration::from_millis(900)), earliest, now), earliest);
        assert_eq!(moment.arrival(Some(WALL + hour), earliest, now), now);
    }

    #[test]
    fn after_an_idle_time_a_step_of_the_wall_clock_dates_nothing_back() {
        let (idle_since, now) = (us(100), us(60_000_501));
        let moment = Moment::at(WALL, us(60_000_500));
        let back = |span: Duration| moment.arrival(Some(WALL - span), idle_since, now);
        assert_eq!(back(Duration::from_secs(30)), now);
        assert_eq!(back(Duration::from_secs(3600)), now);
        assert_eq!(back(WALL), now);
        assert_eq!(back(Duration::from_millis(20)), us(59_980_500), "a wait for the processor");
    }

    #[test]
    fn the_two_clocks_are_read_close_together() {
        let clock = Clock::start();
        let (first, before) = (Moment::read(clock), clock.now());
        assert!(first.here <= before && first.wall > 0);
    }
}
