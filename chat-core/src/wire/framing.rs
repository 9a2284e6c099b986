//! Frames on a byte stream: a 4-byte big-endian length, then the body.
//!
//! The reader keeps bytes until a whole body is there, so text is never decoded across a partial read, and it checks the
//! length before it takes memory for it.

use bytes::{Bytes, BytesMut};

/// Collects stream bytes and gives whole frame bodies.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    max_frame: usize,
}

/// The stream cannot be read any further; it has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The length prefix is above the limit: a peer of another protocol, or an attack.
    #[error("frame of {length} bytes is longer than the limit of {limit}")]
    TooLong { length: u32, limit: usize },
    /// A frame without a body is no frame.
    #[error("frame of length 0")]
    Empty,
}

impl FrameReader {
    /// `max_frame` bounds the body, in bytes.
    #[must_use]
    pub fn new(max_frame: usize) -> Self {
        Self { buffer: BytesMut::new(), max_frame }
    }

    /// Takes what the stream gave, in pieces of any size.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole body, or `None` until more bytes come.
    pub fn poll_frame(&mut self) -> Result<Option<Bytes>, FramingError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix);
        if length == 0 {
            return Err(FramingError::Empty);
        }
        let body = length as usize;
        if body > self.max_frame {
            return Err(FramingError::TooLong { length, limit: self.max_frame });
        }
        if self.buffer.len() < LENGTH_BYTES + body {
            self.buffer.reserve(LENGTH_BYTES + body - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(LENGTH_BYTES + body);
        Ok(Some(frame.split_off(LENGTH_BYTES).freeze()))
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }
}

/// Puts the length of the body that was appended after `start + LENGTH_BYTES` into its place.
pub(crate) fn seal_length(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).expect("bodies are bounded far below 4 GiB");
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Length of the length.
pub const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_of_four_gigabytes_takes_no_memory() {
        let mut reader = FrameReader::new(1 << 20);
        reader.push(&u32::MAX.to_be_bytes());
        assert_eq!(reader.poll_frame(), Err(FramingError::TooLong { length: u32::MAX, limit: 1 << 20 }));
        assert!(reader.buffered() <= 4);
    }

    #[test]
    fn half_a_frame_waits_for_the_other_half() {
        let mut reader = FrameReader::new(100);
        reader.push(&[0, 0, 0, 3, 0xe2, 0x82]);
        assert_eq!(reader.poll_frame(), Ok(None));
        reader.push(&[0xac]);
        assert_eq!(reader.poll_frame(), Ok(Some(Bytes::from_static("€".as_bytes()))));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_frames(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..10),
            cut in 1usize..20,
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
                stream.extend_from_slice(body);
            }
            let mut reader = FrameReader::new(64);
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                reader.push(piece);
                while let Some(body) = reader.poll_frame().unwrap() {
                    seen.push(body.to_vec());
                }
            }
            prop_assert_eq!(seen, bodies);
        }
    }
}
