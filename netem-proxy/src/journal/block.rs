//! The file around the records: a header, then blocks with a checksum.
//!
//! ```text
//! header  89 'N' 'E' 'T' 'L' 'O' 'G' 0a | version, 1 byte | length, 1 byte | "netem-proxy 0.1.0"
//! block   length, 4 bytes LE | CRC-32C of the payload, 4 bytes LE | payload
//! payload stream, varint | number of the block in its stream, varint | records
//! ```
//!
//! A stream is what one driver wrote; several may share a file. The number in the stream makes a block that is
//! missing as visible as one that is damaged.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::record::{Context, Record};
use super::varint::{Cursor, put};

/// Why a log cannot be read on. Offsets are bytes from the beginning of the file.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("it is no arrival log; write one with --log FILE")]
    NotALog,
    /// Written by a program of another time.
    #[error(
        "its format is version {found} and this program reads {VERSION}; use the netem-proxy that wrote it ({tool})"
    )]
    Version { found: u8, tool: String },
    #[error("offset {offset}: it ends in the middle of a block; the run was killed or the file was cut")]
    Truncated { offset: u64 },
    #[error("offset {offset}: the block is damaged (its checksum does not match)")]
    Damaged { offset: u64 },
    #[error("offset {offset}: a block of stream {stream} is missing before this one")]
    Missing { offset: u64, stream: u64 },
    /// The checksum holds, so this program or the one that wrote it has a bug.
    #[error("offset {offset}: the block holds something that is no record")]
    Malformed { offset: u64 },
    #[error("offset {offset}: {error}")]
    Read { offset: u64, error: io::Error },
}

/// Reads a log, record by record, in the order in which they were written.
#[derive(Debug)]
pub struct LogReader<R> {
    input: R,
    tool: String,
    offset: u64,
    /// Records of the present block, last first.
    records: Vec<Record>,
    stream: u64,
    /// The number that the next block of each stream has.
    expected: BTreeMap<u64, u64>,
}

impl<R: Read> LogReader<R> {
    /// # Errors
    /// When this is not a log, or one of another version.
    pub fn new(mut input: R) -> Result<Self, LogError> {
        let mut head = [0; 10];
        input.read_exact(&mut head).map_err(|_| LogError::NotALog)?;
        if head[..8] != MAGIC {
            return Err(LogError::NotALog);
        }
        let mut tool = vec![0; usize::from(head[9])];
        input.read_exact(&mut tool).map_err(|_| LogError::Truncated { offset: 10 })?;
        let tool = String::from_utf8_lossy(&tool).into_owned();
        if head[8] != VERSION {
            return Err(LogError::Version { found: head[8], tool });
        }
        let offset = 10 + u64::from(head[9]);
        Ok(Self { input, tool, offset, records: Vec::new(), stream: 0, expected: BTreeMap::new() })
    }

    /// What wrote it, with its version.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// Where the next block begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record and its stream; `None` at the end.
    ///
    /// # Errors
    /// Where the log cannot be read on. Asking again does not help.
    pub fn next_record(&mut self) -> Result<Option<(u64, Record)>, LogError> {
        loop {
            if let Some(record) = self.records.pop() {
                return Ok(Some((self.stream, record)));
            }
            if !self.next_block()? {
                return Ok(None);
            }
        }
    }

    fn next_block(&mut self) -> Result<bool, LogError> {
        let offset = self.offset;
        let mut head = Vec::with_capacity(8);
        self.read_up_to(8, &mut head)?;
        if head.is_empty() {
            return Ok(false);
        }
        let Some((length, checksum)) = head.split_first_chunk().and_then(|(length, rest)| {
            Some((u32::from_le_bytes(*length), u32::from_le_bytes(rest.try_into().ok()?)))
        }) else {
            return Err(LogError::Truncated { offset });
        };
        if length > MAX_BLOCK {
            return Err(LogError::Damaged { offset });
        }
        let mut payload = Vec::new();
        self.read_up_to(length, &mut payload)?;
        if payload.len() as u64 != u64::from(length) {
            return Err(LogError::Truncated { offset });
        }
        if crc32c::crc32c(&payload) != checksum {
            return Err(LogError::Damaged { offset });
        }
        let block = decode(&payload).ok_or(LogError::Malformed { offset })?;
        let expected = self.expected.entry(block.stream).or_default();
        if block.number != *expected {
            return Err(LogError::Missing { offset, stream: block.stream });
        }
        *expected += 1;
        self.offset += 8 + u64::from(length);
        self.stream = block.stream;
        self.records = block.records;
        self.records.reverse();
        Ok(true)
    }

    /// Fewer only at the end of the file. Reserves nothing for bytes that may not be there.
    fn read_up_to(&mut self, count: u32, into: &mut Vec<u8>) -> Result<(), LogError> {
        let read = (&mut self.input).take(u64::from(count)).read_to_end(into);
        read.map_err(|error| LogError::Read { offset: self.offset, error })?;
        Ok(())
    }
}

/// One block, read.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u64,
    pub(super) number: u64,
    pub(super) records: Vec<Record>,
}

/// `None` where the payload is not a list of records.
pub(super) fn decode(payload: &[u8]) -> Option<Block> {
    let mut cursor = Cursor::new(payload);
    let (stream, number) = (cursor.number()?, cursor.number()?);
    let mut context = Context::default();
    let mut records = Vec::new();
    while !cursor.is_empty() {
        records.push(context.decode(&mut cursor)?);
    }
    Some(Block { stream, number, records })
}

/// The first bytes of a file.
pub(super) fn header() -> Vec<u8> {
    let tool = concat!("netem-proxy ", env!("CARGO_PKG_VERSION"));
    let mut out = MAGIC.to_vec();
    out.extend([VERSION, u8::try_from(tool.len()).expect("a short name")]);
    out.extend(tool.as_bytes());
    out
}

/// A block around a payload.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("payloads are cut at MAX_BLOCK");
    let mut out = Vec::with_capacity(payload.len() + 8);
    out.extend(length.to_le_bytes());
    out.extend(crc32c::crc32c(payload).to_le_bytes());
    out.extend(payload);
    out
}

/// Gathers the records of one stream into payloads.
#[derive(Debug)]
pub(super) struct BlockWriter {
    stream: u64,
    number: u64,
    context: Context,
    payload: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn new(stream: u64) -> Self {
        Self { stream, number: 0, context: Context::default(), payload: Vec::new() }
    }

    /// The block that is being written, to add to; begun if there is none.
    pub(super) fn open(&mut self) -> (&mut Context, &mut Vec<u8>) {
        if self.payload.is_empty() {
            self.payload.reserve(BLOCK_TARGET + 256);
            put(&mut self.payload, self.stream);
            put(&mut self.payload, self.number);
        }
        (&mut self.context, &mut self.payload)
    }

    pub(super) fn push(&mut self, record: &Record) {
        let (context, payload) = self.open();
        context.encode(record, payload);
    }

    pub(super) fn is_full(&self) -> bool {
        self.payload.len() >= BLOCK_TARGET
    }

    /// The payload so far, if there is any; the next record begins another.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        if self.payload.is_empty() {
            return None;
        }
        self.number += 1;
        self.context = Context::default();
        Some(std::mem::take(&mut self.payload))
    }

    /// Takes the number of the last block back, which was never written.
    pub(super) fn take_back(&mut self) {
        self.number -= 1;
    }
}

const MAGIC: [u8; 8] = *b"\x89NETLOG\n";

/// Of the format; any change of a record's meaning raises it.
pub const VERSION: u8 = 1;

/// A block is handed over when it has so many bytes: some 5,000 packets, 30 ms of 150,000 packets a second.
const BLOCK_TARGET: usize = 64 << 10;

/// Longer blocks are taken for damage. A profile with a trace of a million entries has about 2 MiB.
pub const MAX_BLOCK: u32 = 64 << 20;
