//! What travels through a proxy's links: bytes, where they go, and the credit they hold.

use std::rc::Rc;

use bytes::Bytes;
use quinn_udp::EcnCodepoint;

use super::credit::Credit;
use super::{datagrams, frames};
use crate::link::{Delivery, Ecn, flip_bit};

/// A datagram's payload, or a frame with its length in front.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub(super) bytes: Bytes,
    /// Bytes at the beginning that corruption leaves alone.
    pub(super) protected: usize,
    /// As it came in, so that it goes out the same.
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) to: Outlet,
    pub(super) credit: Credit,
}

/// Where a parcel goes when the link lets it out.
#[derive(Clone, Debug)]
pub(super) enum Outlet {
    ToUpstream(Rc<datagrams::Flow>),
    ToClient(Rc<datagrams::Flow>),
    Writer(Rc<frames::Writer>),
}

impl Parcel {
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl AsRef<[u8]> for Parcel {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes as they leave, damaged if the link says so.
pub(super) fn payload(delivery: &Delivery<Parcel>) -> Bytes {
    let Parcel { bytes, protected, .. } = &delivery.packet;
    match delivery.corrupt {
        Some(bit) => corrupted(bytes, *protected, bit),
        None => bytes.clone(),
    }
}

/// The codepoint as it leaves: what came in, or "congestion experienced" if the link marked it.
pub(super) fn codepoint(delivery: &Delivery<Parcel>) -> Option<EcnCodepoint> {
    marked(delivery.packet.ecn, delivery.mark)
}

fn marked(codepoint: Option<EcnCodepoint>, mark: bool) -> Option<EcnCodepoint> {
    if mark { Some(EcnCodepoint::Ce) } else { codepoint }
}

/// What a link is told of a codepoint (RFC 3168 section 5).
pub(super) fn ecn_of(codepoint: Option<EcnCodepoint>) -> Ecn {
    match codepoint {
        None => Ecn::NotCapable,
        Some(EcnCodepoint::Ect0 | EcnCodepoint::Ect1) => Ecn::Capable,
        Some(EcnCodepoint::Ce) => Ecn::Experienced,
    }
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
    fn a_mark_of_the_link_becomes_congestion_experienced() {
        for codepoint in [Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ect1), Some(EcnCodepoint::Ce)] {
            assert_eq!(marked(codepoint, true), Some(EcnCodepoint::Ce));
            assert_eq!(marked(codepoint, false), codepoint);
            assert_ne!(ecn_of(codepoint), Ecn::NotCapable);
        }
        assert_eq!((marked(None, false), ecn_of(None)), (None, Ecn::NotCapable));
    }

    #[test]
    fn an_empty_frame_has_nothing_to_corrupt() {
        let bytes = Bytes::from_static(&[0; 4]);
        assert_eq!(corrupted(&bytes, 4, 17), bytes);
    }
}
