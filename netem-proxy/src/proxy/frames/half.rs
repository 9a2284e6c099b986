//! The two ends of a lane: frames are found in what is read, and written as they come out of the link.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;

use bytes::Bytes;
use units::Timestamp;

use super::MAX_FRAME;
use super::connection::{Fault, PREFIX};
use crate::proxy::credit::Credit;
use crate::proxy::driver::Core;
use crate::timing::Interest;

/// What has been read of a stream and is not a whole frame yet, or waits for credit.
///
/// Bounded: it is only read while there is no whole frame in it, so it holds at most one frame and one read.
#[derive(Debug)]
pub(super) struct Input {
    stream: Rc<TcpStream>,
    token: u64,
    buffer: Vec<u8>,
    /// Where the next frame begins in the buffer.
    start: usize,
    has_ended: bool,
    /// What the waiter was told last; `None` when it was told to forget the socket.
    interest: Cell<Option<Interest>>,
}

/// What there is at the beginning of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A whole frame of `len` bytes, length included.
    Frame { len: usize },
    /// More has to be read.
    More,
    /// The stream has ended, and nothing is left of it.
    End,
}

impl Input {
    pub(super) fn new(stream: Rc<TcpStream>, token: u64) -> Self {
        let (buffer, start, has_ended) = (Vec::new(), 0, false);
        Self { stream, token, buffer, start, has_ended, interest: Cell::new(Some(Interest::NONE)) }
    }

    /// The socket's name with the waiter.
    pub(super) fn token(&self) -> u64 {
        self.token
    }

    /// Calls `tell` if the interest is another than last time.
    pub(super) fn note_interest(&self, interest: Interest, tell: impl FnOnce(u64)) {
        if self.interest.get().is_some_and(|told| told != interest) {
            self.interest.set(Some(interest));
            tell(self.token);
        }
    }

    /// Calls `forget` unless it has been called before.
    pub(super) fn unwatch(&self, forget: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.interest.take().map_or(Ok(()), |_| forget())
    }

    /// Whether the end of the stream has been read, and every frame before it taken.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended && self.start == self.buffer.len()
    }

    /// Reads once.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        match (&*self.stream).read(scratch) {
            Ok(0) => self.has_ended = true,
            Ok(len) => self.push(&scratch[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn parse(&self) -> Result<Parsed, Fault> {
        let rest = &self.buffer[self.start..];
        let whole = match rest.first_chunk::<PREFIX>() {
            Some(prefix) => {
                let body_len = u32::from_be_bytes(*prefix) as usize;
                if body_len > MAX_FRAME {
                    return Err(Fault::Malformed("a frame above 1 MiB"));
                }
                Some(PREFIX + body_len).filter(|len| *len <= rest.len())
            }
            None => None,
        };
        match whole {
            Some(len) => Ok(Parsed::Frame { len }),
            None if !self.has_ended => Ok(Parsed::More),
            None if rest.is_empty() => Ok(Parsed::End),
            None => Err(Fault::Malformed("a stream that ended within a frame")),
        }
    }

    /// The frame of `len` bytes that [`parse`](Self::parse) found.
    pub(super) fn take(&mut self, len: usize) -> Bytes {
        let frame = Bytes::copy_from_slice(&self.buffer[self.start..self.start + len]);
        self.start += len;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
        }
        frame
    }
}

/// What leaves a link for one stream. Shared by the parcels under way to it.
#[derive(Debug)]
pub(in crate::proxy) struct Writer {
    stream: Rc<TcpStream>,
    token: u64,
    queue: RefCell<Queue>,
    state: Cell<State>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Leaving>,
    /// How many bytes of the first have been written.
    written: usize,
    /// The last write found no room.
    is_blocked: bool,
}

#[derive(Debug)]
struct Leaving {
    bytes: Bytes,
    /// Given back when the last byte has been written.
    _credit: Credit,
    /// Taken when the first byte is.
    due: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The end of the stream has been passed on.
    Shut,
    /// The connection is gone.
    Closed,
}

/// What became of a frame given to a writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is to be flushed.
    First,
    /// Others wait before it.
    Behind,
    /// There is no connection any more.
    Closed,
}

impl Writer {
    pub(super) fn new(stream: Rc<TcpStream>, token: u64) -> Self {
        Self { stream, token, queue: RefCell::default(), state: Cell::new(State::Open) }
    }

    /// The name of the lane: its reading end's.
    pub(super) fn token(&self) -> u64 {
        self.token
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.queue.borrow().is_blocked
    }

    pub(super) fn is_shut(&self) -> bool {
        self.state.get() != State::Open
    }

    pub(super) fn push(&self, bytes: Bytes, credit: Credit, due: Timestamp) -> Pushed {
        if self.state.get() != State::Open {
            return Pushed::Closed;
        }
        let mut queue = self.queue.borrow_mut();
        queue.frames.push_back(Leaving { bytes, _credit: credit, due: Some(due) });
        if queue.frames.len() == 1 { Pushed::First } else { Pushed::Behind }
    }

    /// Writes until nothing waits or there is no room, many frames in one call.
    pub(super) fn flush(&self, core: &mut Core) -> io::Result<()> {
        let mut queue = self.queue.borrow_mut();
        queue.is_blocked = false;
        while !queue.frames.is_empty() {
            let released = core.clock.now();
            let written = match queue.write(&self.stream) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    queue.is_blocked = true;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            queue.advance(written, |due| core.board.record_release(released, due));
        }
        Ok(())
    }

    /// Passes on the end of the stream.
    pub(super) fn shut(&self) -> io::Result<()> {
        self.state.set(State::Shut);
        match self.stream.shutdown(Shutdown::Write) {
            // The peer has closed before.
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Gives up what waits.
    pub(super) fn close(&self) {
        self.state.set(State::Closed);
        let waiting = std::mem::take(&mut *self.queue.borrow_mut());
        drop(waiting);
    }
}

impl Queue {
    fn write(&self, mut stream: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); FRAMES_AT_ONCE];
        let mut count = 0;
        for (slice, leaving) in slices.iter_mut().zip(&self.frames) {
            let from = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&leaving.bytes[from..]);
            count += 1;
        }
        match stream.write_vectored(&slices[..count])? {
            0 => Err(ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    fn advance(&mut self, mut written: usize, mut on_release: impl FnMut(Timestamp)) {
        while let Some(first) = self.frames.front_mut() {
            if written == 0 {
                return;
            }
            if let Some(due) = first.due.take() {
                on_release(due);
            }
            let left = first.bytes.len() - self.written;
            if written < left {
                self.written += written;
                return;
            }
            written -= left;
            self.written = 0;
            self.frames.pop_front();
        }
    }
}

/// Written in one call.
const FRAMES_AT_ONCE: usize = 64;

/// An empty buffer larger than this is given back: one large frame must not cost its size for ever.
const KEPT: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;
    use crate::proxy::credit::{Pool, Returned};

    fn stream() -> Rc<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Rc::new(TcpStream::connect(listener.local_addr().expect("bound")).expect("connected"))
    }

    fn input() -> Input {
        Input::new(stream(), 2)
    }

    fn frames(input: &mut Input) -> Vec<Bytes> {
        let mut frames = Vec::new();
        while let Ok(Parsed::Frame { len }) = input.parse() {
            frames.push(input.take(len));
        }
        frames
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_malformed() {
        let mut input = input();
        input.push(&[0, 0, 0]);
        assert_eq!(input.parse().expect("fine so far"), Parsed::More);
        input.has_ended = true;
        assert!(matches!(input.parse(), Err(Fault::Malformed(_))));
        input.push(&[1, 9]);
        assert_eq!(frames(&mut input), [Bytes::from_static(&[0, 0, 0, 1, 9])]);
        assert_eq!(input.parse().expect("whole"), Parsed::End);
        assert!(input.has_ended());
    }

    #[test]
    fn the_longest_frame_passes_and_one_byte_more_is_malformed() {
        let mut input = input();
        input.push(&u32::try_from(MAX_FRAME).expect("fits").to_be_bytes());
        assert_eq!(input.parse().expect("allowed"), Parsed::More);
        let mut input = self::input();
        input.push(&u32::try_from(MAX_FRAME + 1).expect("fits").to_be_bytes());
        assert!(matches!(input.parse(), Err(Fault::Malformed(_))));
    }

    #[test]
    fn what_was_written_is_taken_from_the_front_and_released_once() {
        let pool = Pool::new(10_000, &Returned::default());
        let mut queue = Queue::default();
        for (n, len) in [(1, 10), (2, 20), (3, 30)] {
            let credit = pool.take(len).expect("room");
            let due = Some(Timestamp::from_secs(n));
            queue.frames.push_back(Leaving { bytes: Bytes::from(vec![0; len]), _credit: credit, due });
        }
        let mut released = Vec::new();
        for written in [4, 4, 12, 40] {
            queue.advance(written, |due| released.push(due));
        }
        assert_eq!(released, [1, 2, 3].map(Timestamp::from_secs));
        assert!(queue.frames.is_empty() && queue.written == 0 && pool.is_idle());
    }

    proptest! {
        #[test]
        fn frames_are_found_however_the_stream_is_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..20),
        ) {
            let expected: Vec<Bytes> = bodies
                .iter()
                .map(|body| {
                    let len = u32::try_from(body.len()).expect("short").to_be_bytes();
                    Bytes::from([&len, body.as_slice()].concat())
                })
                .collect();
            let stream: Vec<u8> = expected.concat();
            let mut input = input();
            let (mut rest, mut found) = (stream.as_slice(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                rest = later;
                input.push(now);
                found.extend(frames(&mut input));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
