//! What travels through a proxy's links: bytes, where they go, and the credit they hold.
//!
//! The pacer's input channel has no bound of its own. Instead each parcel holds a piece of its sender's credit until
//! the last copy of it is gone, wherever that is: written, lost in the link, or dropped with a closed socket. So
//! memory is bounded by the credits, and a sender out of credit knows it at once.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::tally::Tally;
use crate::link::{Delivery, flip_bit};

#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) bytes: Bytes,
    /// Bytes at the beginning that corruption leaves alone.
    pub(super) protected: usize,
    pub(super) to: Outlet,
    /// Given back when the last clone is dropped.
    pub(super) credit: Credit,
}

/// Shared by the clones of a parcel.
pub(super) type Credit = Arc<OwnedSemaphorePermit>;

/// Where a parcel goes when the link lets it out.
#[derive(Clone, Debug)]
pub(super) enum Outlet {
    /// The task that writes a connection.
    Writer(mpsc::UnboundedSender<(Bytes, Credit)>),
    /// A connected socket.
    Socket(Arc<UdpSocket>),
    /// A client of a socket that has many.
    Client(Arc<UdpSocket>, SocketAddr),
}

/// What a parcel of `len` bytes costs: its bytes, and something for the bookkeeping so that empty ones are not free.
pub(super) fn cost(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).saturating_add(128)
}

/// Sends a parcel on its way. Runs in the pacing thread and does not block.
pub(super) fn deliver(delivery: Delivery<Parcel>, tally: &Tally) {
    let Parcel { mut bytes, protected, to, credit } = delivery.packet;
    if let Some(bit) = delivery.corrupt {
        bytes = corrupted(&bytes, protected, bit);
    }
    let sent = match to {
        Outlet::Writer(writer) => {
            if writer.send((bytes, credit)).is_err() {
                tally.undeliverable();
            }
            return;
        }
        // Past tokio: its `try_send` asks a readiness that only a turn of the runtime brings up to date.
        Outlet::Socket(socket) => try_twice(|| SockRef::from(&*socket).send(&bytes), tally),
        Outlet::Client(socket, client) => {
            try_twice(|| SockRef::from(&*socket).send_to(&bytes, &client.into()), tally)
        }
    };
    match sent {
        Ok(_) => {}
        Err(error) if is_full(&error) => tally.io_overrun(),
        Err(error) => {
            tracing::debug!(%error, "cannot send a datagram");
            tally.undeliverable();
        }
    }
}

/// A refusal that an earlier datagram provoked is reported by the next send, which then has not been made.
fn try_twice(send: impl Fn() -> io::Result<usize>, tally: &Tally) -> io::Result<usize> {
    match send() {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tally.refused();
            send()
        }
        result => result,
    }
}

fn is_full(error: &io::Error) -> bool {
    let no_buffers = rustix::io::Errno::NOBUFS.raw_os_error();
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(no_buffers)
}

/// A copy of `bytes` with one bit flipped behind the first `protected` bytes.
///
/// `bit` is what the link drew over the whole packet ([`Delivery::corrupt`]); it is scaled to the part that may
/// change. Without any such part nothing changes. Public so that the simulator damages frames exactly as proxies do.
#[must_use]
pub fn corrupted(bytes: &Bytes, protected: usize, bit: u64) -> Bytes {
    let (all, open) = (bytes.len() as u128, bytes.len().saturating_sub(protected) as u128);
    if open == 0 {
        return bytes.clone();
    }
    let scaled = u128::from(bit) * open / all;
    let mut copy = bytes.to_vec();
    flip_bit(&mut copy[protected..], u64::try_from(scaled).expect("not above the bit drawn"));
    Bytes::from(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corruption_flips_one_bit_and_never_the_protected_part() {
        let bytes = Bytes::from_static(&[0; 12]);
        for bit in 0..96 {
            let changed = corrupted(&bytes, 4, bit);
            assert_eq!(changed[..4], [0; 4]);
            assert_eq!(changed.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        }
    }

    #[test]
    fn an_empty_frame_has_nothing_to_corrupt() {
        let bytes = Bytes::from_static(&[0; 4]);
        assert_eq!(corrupted(&bytes, 4, 17), bytes);
    }
}
