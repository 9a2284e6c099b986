//! The body of an ack.
//!
//! ```text
//! flags (1)   bit 0: a window; bit 1: channels; bit 2: ECN; others are for later fields, which stand behind those known here
//! largest     highest packet number
//! delay       microseconds that it waited
//! further     ranges below the first, at most 255
//! first       packets below the largest in its range
//! { gap       packets missing below the range before
//!   length    packets below the highest of this range }…
//! [window]    right edge of the receive window
//! [count      channels with a window of their own, at most 64
//!   { channel
//!     end     right edge of its window }…]
//! [ECT(0), ECT(1), CE]  numbered packets that arrived with each mark
//! ```
//! All but the flags are varints. The shape is that of RFC 9000 section 19.3, but for gaps, which may be 0 here because
//! touching ranges are allowed in JSON too.

use super::super::{EcnCounts, varint};
use crate::connection::{AckContent, AckRanges, ChannelWindows, MAX_CHANNEL_WINDOWS};

/// Whether [`read`] would take it.
pub(super) fn is_sound(ack: &AckContent) -> bool {
    ack.ranges.is_valid() && ack.channels.len() <= MAX_CHANNEL_WINDOWS
}

/// Bytes that [`write`] appends.
pub(super) fn body_len(ack: &AckContent) -> usize {
    let mut length = 1;
    each_number(ack, |number| length += varint::len(number));
    length
}

/// Appends the body. The ranges must be valid.
pub(super) fn write(out: &mut Vec<u8>, ack: &AckContent) {
    let window = if ack.window.is_some() { WINDOW } else { 0 };
    let channels = if ack.channels.is_empty() { 0 } else { CHANNELS };
    let ecn = if ack.ecn.is_some() { ECN } else { 0 };
    out.push(window | channels | ecn);
    each_number(ack, |number| varint::put(out, number));
}

fn each_number(ack: &AckContent, mut visit: impl FnMut(u64)) {
    let ranges = ack.ranges.as_slice();
    let Some(&(first_low, largest)) = ranges.first() else {
        return;
    };
    visit(largest);
    visit(ack.delay_us);
    visit(ranges.len() as u64 - 1);
    visit(largest - first_low);
    for pair in ranges.windows(2) {
        let ((above, _), (low, high)) = (pair[0], pair[1]);
        visit(above - high - 1);
        visit(high - low);
    }
    if let Some(window) = ack.window {
        visit(window);
    }
    if !ack.channels.is_empty() {
        visit(ack.channels.len() as u64);
    }
    for &(channel, end) in &ack.channels {
        visit(u64::from(channel));
        visit(end);
    }
    if let Some(ecn) = ack.ecn {
        <[u64; 3]>::from(ecn).into_iter().for_each(&mut visit);
    }
}

/// Reads a body; `None` if it is cut off or its ranges reach below packet 1.
pub(super) fn read(body: &[u8]) -> Option<AckContent> {
    let (&flags, mut rest) = body.split_first()?;
    let mut next = || varint::take(&mut rest);
    let (largest, delay_us, further) = (next()?, next()?, next()?);
    if further >= MAX_RANGES {
        return None;
    }
    let mut ranges = AckRanges::default();
    let mut low = largest.checked_sub(next()?).filter(|&low| low > 0)?;
    ranges.push_below(low, largest);
    for _ in 0..further {
        let high = low.checked_sub(next()?)?.checked_sub(1)?;
        low = high.checked_sub(next()?).filter(|&low| low > 0)?;
        ranges.push_below(low, high);
    }
    let window = if flags & WINDOW == 0 { None } else { Some(next()?) };
    let count = if flags & CHANNELS == 0 { 0 } else { next()? };
    if count > MAX_CHANNEL_WINDOWS as u64 {
        return None;
    }
    let mut channels = ChannelWindows::new();
    for _ in 0..count {
        channels.push((u32::try_from(next()?).ok()?, next()?));
    }
    let ecn = if flags & ECN == 0 { None } else { Some(EcnCounts::from([next()?, next()?, next()?])) };
    Some(AckContent { ranges, window, channels, delay_us, ecn })
}

const WINDOW: u8 = 0x01;
const CHANNELS: u8 = 0x02;
const ECN: u8 = 0x04;
/// As many as a peer may report; checked before anything is made of them.
const MAX_RANGES: u64 = 256;
