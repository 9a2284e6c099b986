//! A timer that is set anew many times for each time that it rings.

use std::future::pending;
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};
use units::{Clock, Timestamp};

/// Waits until a time of `clock`. The runtime keeps one entry for it, which is moved when the time comes nearer and left alone
/// when it recedes: a session's deadline recedes with every datagram, and each move of an entry takes the lock of the
/// runtime's timer wheel.
#[derive(Debug)]
pub struct Alarm {
    clock: Clock,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, sleep: None }
    }

    /// Waits until `deadline`, or for ever without one; rounded up to the millisecond by the runtime. Nothing is lost if the
    /// future is dropped and asked for again with another deadline.
    pub async fn ring(&mut self, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else { return pending().await };
        let at = Instant::from_std(self.clock.instant(deadline));
        let mut sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at))).as_mut();
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
        }
        loop {
            sleep.as_mut().await;
            if sleep.deadline() >= at {
                return;
            }
            sleep.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Milliseconds of virtual time that waiting for `deadline` takes, or `None` if it is more than ten seconds.
    async fn waited(alarm: &mut Alarm, deadline: Option<Timestamp>) -> Option<u128> {
        let before = Instant::now();
        let rang = timeout(Duration::from_secs(10), alarm.ring(deadline)).await;
        rang.ok().map(|()| before.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_last_deadline_that_was_asked_for() {
        let clock = Clock::start();
        let mut alarm = Alarm::new(clock);
        let begun = Instant::now();
        let at = |ms| Some(clock.now() + Duration::from_millis(ms));
        let far = at(500);
        assert!(timeout(Duration::from_millis(1), alarm.ring(far)).await.is_err());
        // Nearer, receding, and the same again.
        for ms in [50, 200, 201, 30] {
            let deadline = Some(Timestamp::ZERO + begun.elapsed() + Duration::from_millis(ms));
            assert!(timeout(Duration::from_millis(2), alarm.ring(deadline)).await.is_err(), "{ms}");
        }
        let begun_ms = begun.elapsed().as_millis() as u64;
        let waited_ms = waited(&mut alarm, Some(Timestamp::from_millis(begun_ms + 100))).await;
        assert!((99..=102).contains(&waited_ms.expect("it rings")), "{waited_ms:?}");
        assert_eq!(waited(&mut alarm, Some(Timestamp::ZERO)).await, Some(0), "the past is now");
        assert_eq!(waited(&mut alarm, None).await, None);
    }
}
