//! Address tokens: a server learns that an address is real before it remembers anything of it.
//!
//! A stranger's datagram is answered by a token, a MAC over its address, its connection id and the time. Whoever can
//! give it back receives what is sent to that address. The server keeps nothing for it, so a flood of strangers with
//! forged addresses costs it one MAC each and no memory (RFC 9000 section 8.1.2).
//!
//! The MAC is HMAC-SHA256 cut to 128 bits (RFC 2104 section 5: not below half). Its key is drawn anew every
//! [`ROTATION`]; the one before stays good for the life of its last tokens. A token may be presented more than once
//! while it lives: a `hello` is repeated until it is answered. A copy finds the peer that the first has made and makes
//! no second; only when that peer is gone again within the life of the token could a copy open another, which is closed
//! for want of a fresh `hello`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use sha2::Sha256;
use units::{Rng, Timestamp};

/// Length of a token.
pub const TOKEN_BYTES: usize = TIME_BYTES + MAC_BYTES;
/// How long a token is good: some repetitions of a `hello` on a bad path, and little time for whoever took over an
/// address that somebody else has just proved.
pub const TOKEN_LIFE: Duration = Duration::from_secs(10);
/// How often the key is drawn anew. Longer than [`TOKEN_LIFE`], so that one key before the present one is enough.
pub const ROTATION: Duration = Duration::from_secs(60);

/// Makes and checks tokens.
pub struct Issuer {
    rng: Rng,
    key: [u8; KEY_BYTES],
    previous: [u8; KEY_BYTES],
    rotate_at: Timestamp,
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("token is older than it may be")]
    Expired,
    #[error("token was not made here, or for another address or connection")]
    Forged,
}

impl Issuer {
    /// Keys are drawn from `rng`, which nobody must be able to guess.
    #[must_use]
    pub fn new(now: Timestamp, mut rng: Rng) -> Self {
        let (key, previous) = (rng.random(), rng.random());
        Self { rng, key, previous, rotate_at: now + ROTATION }
    }

    /// A token for `connection_id` at `address`.
    pub fn issue(&mut self, now: Timestamp, address: SocketAddr, connection_id: u64) -> [u8; TOKEN_BYTES] {
        self.rotate(now);
        let time = ticks(now).to_be_bytes();
        let mac = mac(&self.key, time, address, connection_id).finalize().into_bytes();
        let mut token = [0; TOKEN_BYTES];
        token[..TIME_BYTES].copy_from_slice(&time);
        token[TIME_BYTES..].copy_from_slice(&mac[..MAC_BYTES]);
        token
    }

    /// Whether `token` was made here for this address and connection, not long ago. Takes the same time whichever byte
    /// is wrong.
    pub fn check(
        &mut self,
        now: Timestamp,
        address: SocketAddr,
        connection_id: u64,
        token: &[u8],
    ) -> Result<(), TokenError> {
        self.rotate(now);
        let Some((time, tag)) = token.split_first_chunk::<TIME_BYTES>() else {
            return Err(TokenError::Forged);
        };
        let is_of = |key| mac(key, *time, address, connection_id).verify_truncated_left(tag).is_ok();
        if tag.len() != MAC_BYTES || !(is_of(&self.key) || is_of(&self.previous)) {
            return Err(TokenError::Forged);
        }
        // Modulo 2^32 ms, 49 days: the key of an older token is long forgotten.
        let age = ticks(now).wrapping_sub(u32::from_be_bytes(*time));
        if Duration::from_millis(age.into()) > TOKEN_LIFE { Err(TokenError::Expired) } else { Ok(()) }
    }

    fn rotate(&mut self, now: Timestamp) {
        if now < self.rotate_at {
            return;
        }
        // After a long silence both are old.
        self.previous = if now < self.rotate_at + ROTATION { self.key } else { self.rng.random() };
        self.key = self.rng.random();
        self.rotate_at = now + ROTATION;
    }
}

impl std::fmt::Debug for Issuer {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("rotate_at", &self.rotate_at).finish_non_exhaustive()
    }
}

fn mac(key: &[u8], time: [u8; TIME_BYTES], address: SocketAddr, connection_id: u64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    mac.update(b"squall/address/1");
    mac.update(&time);
    mac.update(&ip.octets());
    mac.update(&address.port().to_be_bytes());
    mac.update(&connection_id.to_be_bytes());
    mac
}

fn ticks(now: Timestamp) -> u32 {
    (now.as_micros() / 1000) as u32
}

const KEY_BYTES: usize = 32;
const TIME_BYTES: usize = 4;
const MAC_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use units::Seed;

    use super::*;

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4000);

    fn issuer() -> Issuer {
        Issuer::new(Timestamp::ZERO, Seed::root(1).rng())
    }

    #[test]
    fn a_token_is_good_for_its_address_connection_and_life() {
        let mut issuer = issuer();
        let begin = Timestamp::from_secs(5);
        let token = issuer.issue(begin, HERE, 7);
        let mut check = |now, address, id| issuer.check(now, address, id, &token);
        assert_eq!(check(begin, HERE, 7), Ok(()));
        assert_eq!(check(begin + TOKEN_LIFE, HERE, 7), Ok(()));
        let other_port = SocketAddr::new(HERE.ip(), 4001);
        assert_eq!(check(begin, other_port, 7), Err(TokenError::Forged));
        assert_eq!(check(begin, "[::1]:4000".parse().unwrap(), 7), Err(TokenError::Forged));
        assert_eq!(check(begin, HERE, 8), Err(TokenError::Forged));
        let late = begin + TOKEN_LIFE + Duration::from_millis(1);
        assert_eq!(check(late, HERE, 7), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_outlives_one_change_of_keys_and_not_two() {
        let mut issuer = issuer();
        let before = Timestamp::ZERO + ROTATION - Duration::from_secs(1);
        let token = issuer.issue(before, HERE, 7);
        assert_eq!(issuer.check(before + Duration::from_secs(2), HERE, 7, &token), Ok(()));
        let second = issuer.issue(before + Duration::from_secs(2), HERE, 7);
        assert_ne!(token[TIME_BYTES..], second[TIME_BYTES..]);
        let much_later = before + ROTATION * 3;
        assert_eq!(issuer.check(much_later, HERE, 7, &token), Err(TokenError::Forged));
    }

    #[test]
    fn time_that_wraps_makes_no_token_live_again() {
        let mut issuer = issuer();
        let token = issuer.issue(Timestamp::from_secs(1), HERE, 7);
        let wrapped = Timestamp::from_millis((1 << 32) + 1000);
        assert_eq!(issuer.check(wrapped, HERE, 7, &token), Err(TokenError::Forged));
    }

    #[test]
    fn the_age_is_right_where_the_count_of_milliseconds_wraps() {
        let mut issuer = issuer();
        let before = Timestamp::from_millis((1 << 32) - 1000);
        let token = issuer.issue(before, HERE, 7);
        assert_eq!(issuer.check(before + Duration::from_secs(2), HERE, 7, &token), Ok(()));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_and_no_other_length_passes(bit in 0..TOKEN_BYTES * 8, cut in 0..TOKEN_BYTES) {
            let mut issuer = issuer();
            let mut token = issuer.issue(Timestamp::ZERO, HERE, 7);
            prop_assert!(issuer.check(Timestamp::ZERO, HERE, 7, &token[..cut]).is_err());
            let longer = [&token[..], b"x"].concat();
            prop_assert!(issuer.check(Timestamp::ZERO, HERE, 7, &longer).is_err());
            token[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(issuer.check(Timestamp::ZERO, HERE, 7, &token), Err(TokenError::Forged));
        }

        #[test]
        fn no_bytes_make_checking_panic(token in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(issuer().check(Timestamp::ZERO, HERE, 7, &token).is_err());
        }
    }
}
