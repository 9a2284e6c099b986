//! The client's side of address validation: taking a token, and giving it back until the server knows us.
//!
//! Everything that leaves while a token is held goes out behind it, whatever it is; the first other datagram of the
//! server says that the token has done its work. A server that has forgotten a connection (a restart) answers whatever
//! comes with a token, too; then the next datagrams carry it, the server has somebody to tell that nothing is known, and
//! the session begins another carrier. A server that knows the connection reads past a token, so a forged retry
//! costs 30 bytes a datagram for a round trip and breaks nothing.

use bytes::Bytes;

use super::forms;

/// Tokens for one carrier.
#[derive(Clone, Debug)]
pub struct Introduction {
    connection_id: u64,
    token: Option<Bytes>,
    /// Tokens taken since the server sent anything else.
    retries: u32,
}

/// What a datagram of the server is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A token to use from now on. What was sent before was not read: say it again.
    Retry,
    /// A token that is not for us, not new, or one too many; to be ignored.
    Ignored,
    /// Anything else; for the carrier.
    Other,
}

impl Introduction {
    /// For a carrier with this connection id, of which the server has not heard.
    #[must_use]
    pub fn new(connection_id: u64) -> Self {
        Self { connection_id, token: None, retries: 0 }
    }

    /// Looks at a datagram of the server.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> Heard {
        let is_retry = datagram.first() == Some(&forms::RETRY);
        if !is_retry {
            if forms::connection_id(datagram) == Some(self.connection_id) {
                self.token = None;
                self.retries = 0;
            }
            return Heard::Other;
        }
        let token = forms::read_retry(datagram).filter(|(id, _)| *id == self.connection_id);
        let token = token.map(|(_, token)| token).filter(|token| self.token.as_deref() != Some(token));
        let Some(token) = token.filter(|_| self.retries < MAX_RETRIES) else {
            return Heard::Ignored;
        };
        self.token = Some(Bytes::copy_from_slice(token));
        self.retries += 1;
        Heard::Retry
    }

    /// What to send instead of `datagram`: the same behind the token, while one is held.
    #[must_use]
    pub fn present(&self, datagram: Bytes) -> Bytes {
        match &self.token {
            Some(token) => forms::with_token(self.connection_id, token, &datagram),
            None => datagram,
        }
    }

    /// Bytes that [`Self::present`] adds now.
    #[must_use]
    pub fn overhead(&self) -> usize {
        self.token.as_ref().map_or(0, |token| forms::with_token(self.connection_id, token, &[]).len())
    }
}

/// Tokens taken in a row. One is the rule, a second comes when the first has grown too old; a server or a network (an
/// address that changes with each datagram) that wants more is left to the session's patience.
const MAX_RETRIES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = &[forms::PLAIN, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2, 3];

    #[test]
    fn a_token_is_presented_until_the_server_answers() {
        let mut introduction = Introduction::new(7);
        let hello = Bytes::from_static(HELLO);
        assert_eq!(introduction.present(hello.clone()), hello);
        assert_eq!(introduction.handle_datagram(&forms::retry(7, b"token")), Heard::Retry);
        let presented = introduction.present(hello.clone());
        assert_eq!(forms::read_with_token(&presented), Some((7, &b"token"[..], HELLO)));
        assert_eq!(presented.len(), HELLO.len() + introduction.overhead());
        assert_eq!(introduction.handle_datagram(HELLO), Heard::Other);
        assert_eq!(introduction.present(hello.clone()), hello);
    }

    #[test]
    fn retries_of_others_repeated_ones_and_too_many_are_ignored() {
        let mut introduction = Introduction::new(7);
        assert_eq!(introduction.handle_datagram(&forms::retry(8, b"token")), Heard::Ignored);
        assert_eq!(introduction.handle_datagram(&forms::retry(7, &[0; 65])), Heard::Ignored);
        assert_eq!(introduction.handle_datagram(&[forms::RETRY]), Heard::Ignored);
        let taken = (0..100).filter(|n| {
            let retry = forms::retry(7, &[*n]);
            let taken = introduction.handle_datagram(&retry) == Heard::Retry;
            assert_eq!(introduction.handle_datagram(&retry), Heard::Ignored, "the same again");
            taken
        });
        assert_eq!(taken.count(), MAX_RETRIES as usize);
        introduction.handle_datagram(HELLO);
        assert_eq!(introduction.handle_datagram(&forms::retry(7, b"a restart")), Heard::Retry);
    }

    #[test]
    fn a_datagram_of_another_connection_does_not_end_it() {
        let mut introduction = Introduction::new(7);
        introduction.handle_datagram(&forms::retry(7, b"token"));
        introduction.handle_datagram(&[forms::PLAIN, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert!(introduction.overhead() > 0);
    }
}
