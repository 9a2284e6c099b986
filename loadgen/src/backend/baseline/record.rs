//! What the baselines put on a byte stream: a length, a kind, and what the kind needs.
//!
//! `length (4 bytes, big-endian, of what follows) | kind (1) | body`. To the relay: `Join` (client, 4 bytes) and `Say`
//! (target: kind 1 byte, client 4 bytes if it is one, or a room's place if it is not the sender's first, 2 bytes; text). To a client:
//! `Welcome` and `Heard` (text). A message of 200 bytes to a room is 206 bytes here, and 205 on its way to each recipient.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::workload::{MAX_TEXT, Target};

/// One unit of what the ends say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) enum Record {
    /// The first word of a client: who it is.
    Join {
        client: u32,
    },
    /// The relay knows the client, and will hand it what is for it.
    Welcome,
    Say {
        target: Target,
        text: Bytes,
    },
    Heard {
        text: Bytes,
    },
}

/// A stream that makes no sense. Only a defect of ours can cause it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of the baseline cannot be read")]
pub(in crate::backend) struct Malformed;

impl Record {
    /// With its length in front.
    pub(in crate::backend) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(LENGTH + 6 + self.text().map_or(0, Bytes::len));
        out.put_u32(0);
        match self {
            Self::Join { client } => {
                out.put_u8(JOIN);
                out.put_u32(*client);
            }
            Self::Welcome => out.put_u8(WELCOME),
            Self::Say { target, text } => {
                out.put_u8(SAY);
                match target {
                    Target::Room(0) => out.put_u8(TO_ROOM),
                    Target::Room(place) => {
                        out.put_u8(TO_ROOM_AT);
                        out.put_u16(*place);
                    }
                    Target::Client(client) => {
                        out.put_u8(TO_CLIENT);
                        out.put_u32(*client);
                    }
                    Target::All => out.put_u8(TO_ALL),
                    Target::Oneself => out.put_u8(TO_ONESELF),
                    Target::File(_) | Target::Members(_) => unreachable!("refused before the run"),
                }
                out.put_slice(text);
            }
            Self::Heard { text } => {
                out.put_u8(HEARD);
                out.put_slice(text);
            }
        }
        let length = u32::try_from(out.len() - LENGTH).expect("texts are far shorter than 4 GiB");
        out[..LENGTH].copy_from_slice(&length.to_be_bytes());
        out.freeze()
    }

    fn text(&self) -> Option<&Bytes> {
        match self {
            Self::Say { text, .. } | Self::Heard { text } => Some(text),
            Self::Join { .. } | Self::Welcome => None,
        }
    }

    fn decode(mut body: Bytes) -> Result<Self, Malformed> {
        match body.try_get_u8().map_err(|_| Malformed)? {
            JOIN => Ok(Self::Join { client: body.try_get_u32().map_err(|_| Malformed)? }),
            WELCOME => Ok(Self::Welcome),
            SAY => {
                let target = match body.try_get_u8().map_err(|_| Malformed)? {
                    TO_ROOM => Target::Room(0),
                    TO_ROOM_AT => Target::Room(body.try_get_u16().map_err(|_| Malformed)?),
                    TO_CLIENT => Target::Client(body.try_get_u32().map_err(|_| Malformed)?),
                    TO_ALL => Target::All,
                    TO_ONESELF => Target::Oneself,
                    _ => return Err(Malformed),
                };
                Ok(Self::Say { target, text: body })
            }
            HEARD => Ok(Self::Heard { text: body }),
            _ => Err(Malformed),
        }
    }
}

/// Cuts a byte stream into records. Holds at most one unfinished record.
#[derive(Clone, Debug, Default)]
pub(in crate::backend) struct Inbox {
    pending: BytesMut,
}

impl Inbox {
    pub(in crate::backend) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole record; `None` until more arrives. Poll until `None` after each push.
    pub(in crate::backend) fn poll(&mut self) -> Result<Option<Record>, Malformed> {
        let Some(length) = self.pending.first_chunk().map(|length| u32::from_be_bytes(*length)) else {
            return Ok(None);
        };
        if length > MAX_RECORD {
            return Err(Malformed);
        }
        let end = LENGTH + length as usize;
        if self.pending.len() < end {
            return Ok(None);
        }
        let mut record = self.pending.split_to(end).freeze();
        record.advance(LENGTH);
        Record::decode(record).map(Some)
    }
}

const LENGTH: usize = 4;
/// The longest text of a scenario, with kind and target; a longer length is no record of ours.
const MAX_RECORD: u32 = MAX_TEXT + 6;

const JOIN: u8 = 1;
const WELCOME: u8 = 2;
const SAY: u8 = 3;
const HEARD: u8 = 4;

const TO_ROOM: u8 = 0;
const TO_CLIENT: u8 = 1;
const TO_ALL: u8 = 2;
const TO_ONESELF: u8 = 3;
const TO_ROOM_AT: u8 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let target = prop_oneof![
            any::<u16>().prop_map(Target::Room),
            any::<u32>().prop_map(Target::Client),
            Just(Target::All),
            Just(Target::Oneself)
        ];
        let text = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop_oneof![
            any::<u32>().prop_map(|client| Record::Join { client }),
            Just(Record::Welcome),
            (target, text()).prop_map(|(target, text)| Record::Say { target, text }),
            text().prop_map(|text| Record::Heard { text }),
        ]
    }

    proptest! {
        #[test]
        fn records_come_out_as_they_went_in_however_the_stream_is_cut(
            records in proptest::collection::vec(record(), 0..10),
            cut in 1_usize..64,
        ) {
            let stream: Vec<u8> = records.iter().flat_map(|record| record.encode().to_vec()).collect();
            let mut inbox = Inbox::default();
            let mut read = Vec::new();
            for piece in stream.chunks(cut) {
                inbox.push(piece);
                while let Some(record) = inbox.poll().unwrap() {
                    read.push(record);
                }
            }
            prop_assert_eq!(read, records);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut inbox = Inbox::default();
            inbox.push(&bytes);
            while let Ok(Some(_)) = inbox.poll() {}
        }
    }

    #[test]
    fn the_framing_of_a_message_is_six_bytes() {
        let text = Bytes::from(vec![b'x'; 200]);
        assert_eq!(Record::Say { target: Target::Room(0), text: text.clone() }.encode().len(), 206);
        assert_eq!(Record::Heard { text }.encode().len(), 205);
    }

    #[test]
    fn a_length_that_no_message_has_is_an_error() {
        let mut inbox = Inbox::default();
        inbox.push(&u32::MAX.to_be_bytes());
        assert_eq!(inbox.poll(), Err(Malformed));
    }
}
