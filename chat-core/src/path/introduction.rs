//! The client's side of address validation: taking a token, and giving it back until the server knows us.
//!
//! It stands between whatever makes datagrams (a session, or the cipher around it) and the socket, and knows nothing of
//! either. What leaves while a token is held goes out behind it; the first other datagram of the server says that the
//! token has done its work. What left before the token came was not read, so it is kept, as far as it is the beginning
//! of a carrier, and goes out again at once: an address costs one round trip, not a timeout.
//!
//! A server that has forgotten a connection (a restart) answers whatever comes with a token, too. Then the next
//! datagrams carry it, the server has somebody to tell that nothing is known, and the session begins another carrier. A
//! server that knows the connection reads past a token, so a forged retry costs 30 bytes a datagram for a round trip
//! and breaks nothing.

use std::collections::VecDeque;

use bytes::Bytes;

use super::forms;

/// Tokens for one carrier. Make one whenever a carrier is opened.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    /// Of the first datagram that left.
    connection_id: Option<u64>,
    token: Option<Bytes>,
    /// Tokens taken since the server sent anything else.
    retries: u32,
    /// The server has sent something that is no retry.
    is_known: bool,
    /// The newest datagrams that left before the server answered.
    kept: VecDeque<Bytes>,
    again: VecDeque<Bytes>,
}

/// What a datagram of the server is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A retry, taken or not: nothing for the carrier. Drain [`Introduction::poll_transmit`].
    Retry,
    /// Anything else; for the carrier.
    Other,
}

impl Introduction {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A datagram leaves: what to send in its place, the same or the same behind a token.
    pub fn present(&mut self, datagram: Bytes) -> Bytes {
        if self.connection_id.is_none() {
            self.connection_id = forms::connection_id(&datagram);
        }
        if !self.is_known {
            if self.kept.len() == KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back(datagram.clone());
        }
        self.behind_token(datagram)
    }

    /// Looks at a datagram of the server.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> Heard {
        let is_ours = self.connection_id.is_some() && forms::connection_id(datagram) == self.connection_id;
        if datagram.first() != Some(&forms::RETRY) {
            if is_ours {
                self.is_known = true;
                self.token = None;
                self.retries = 0;
                self.kept.clear();
            }
            return Heard::Other;
        }
        let token = forms::read_retry(datagram).filter(|_| is_ours).map(|(_, token)| token);
        if let Some(token) = token
            && self.token.as_deref() != Some(token)
            && self.retries < MAX_RETRIES
        {
            self.token = Some(Bytes::copy_from_slice(token));
            self.retries += 1;
            self.again = self.kept.iter().map(|datagram| self.behind_token(datagram.clone())).collect();
        }
        Heard::Retry
    }

    /// The next datagram to send again; drain it after a [`Heard::Retry`].
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.again.pop_front()
    }

    fn behind_token(&self, datagram: Bytes) -> Bytes {
        match (&self.token, self.connection_id) {
            (Some(token), Some(id)) => forms::with_token(id, token, &datagram),
            _ => datagram,
        }
    }
}

/// Tokens taken in a row. One is the rule, a second comes when the first has grown too old; a server or a network (an
/// address that changes with each datagram) that wants more is left to the session's patience.
const MAX_RETRIES: u32 = 8;
/// Datagrams kept: a `hello` is one, the first flight of a cipher at most two.
const KEPT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = &[forms::PLAIN, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3];

    fn introduced() -> Introduction {
        let mut introduction = Introduction::new();
        assert_eq!(introduction.present(Bytes::from_static(HELLO)), HELLO);
        introduction
    }

    fn again(introduction: &mut Introduction) -> Vec<Bytes> {
        std::iter::from_fn(|| introduction.poll_transmit()).collect()
    }

    #[test]
    fn a_token_is_presented_at_once_and_until_the_server_answers() {
        let mut introduction = introduced();
        assert_eq!(introduction.handle_datagram(&forms::retry(7, b"token")), Heard::Retry);
        let again = again(&mut introduction);
        assert_eq!(again.len(), 1);
        assert_eq!(forms::read_with_token(&again[0]), Some((7, &b"token"[..], HELLO)));
        assert_eq!(introduction.present(Bytes::from_static(HELLO)), again[0]);
        assert_eq!(introduction.handle_datagram(HELLO), Heard::Other);
        assert_eq!(introduction.present(Bytes::from_static(HELLO)), HELLO);
    }

    #[test]
    fn retries_of_others_repeated_ones_and_too_many_are_not_taken() {
        let mut introduction = introduced();
        for retry in [&forms::retry(8, b"token")[..], &forms::retry(7, &[0; 65]), &[forms::RETRY]] {
            assert_eq!(introduction.handle_datagram(retry), Heard::Retry);
            assert_eq!(again(&mut introduction), Vec::<Bytes>::new());
        }
        let taken = (0..100).filter(|n| {
            let retry = forms::retry(7, &[*n]);
            introduction.handle_datagram(&retry);
            let taken = !again(&mut introduction).is_empty();
            introduction.handle_datagram(&retry);
            assert!(again(&mut introduction).is_empty(), "the same again");
            taken
        });
        assert_eq!(taken.count(), MAX_RETRIES as usize);
    }

    #[test]
    fn a_server_that_has_forgotten_us_gets_the_token_with_what_comes_next() {
        let mut introduction = introduced();
        introduction.handle_datagram(HELLO);
        introduction.handle_datagram(&forms::retry(7, b"a restart"));
        assert!(again(&mut introduction).is_empty(), "nothing is repeated that a session would repeat");
        let next = introduction.present(Bytes::from_static(HELLO));
        assert_eq!(forms::read_with_token(&next), Some((7, &b"a restart"[..], HELLO)));
    }

    #[test]
    fn a_datagram_of_another_connection_does_not_end_it() {
        let mut introduction = introduced();
        introduction.handle_datagram(&forms::retry(7, b"token"));
        introduction.handle_datagram(&[forms::PLAIN, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_ne!(introduction.present(Bytes::from_static(HELLO)), HELLO);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut introduction = introduced();
        for _ in 0..100 {
            introduction.present(Bytes::from_static(HELLO));
        }
        introduction.handle_datagram(&forms::retry(7, b"token"));
        assert_eq!(again(&mut introduction).len(), KEPT);
    }
}
