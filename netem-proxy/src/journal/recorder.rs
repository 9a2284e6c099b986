//! Writing a log while a run goes on.
//!
//! A [`Recorder`] belongs to a driver: it turns what it observes into bytes in a block and hands full blocks to the
//! journal's thread through a bounded queue, which it never waits for. The thread reads each block back before it
//! writes it, which checks the format all the time and gives the verdicts to hash without a second copy of them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use units::Timestamp;

use super::block::{BlockWriter, decode, frame, header};
use super::book::Book;
use super::portable::Portable;
use super::record::Record;
use super::verdict::{Digest, Verdict};
use crate::link::{Delivery, LinkEvent, Meta};
use crate::pacer::{LinkId, LinkOpened, Observer};
use crate::profile::LinkProfile;

/// A log being written. Dropping it leaves the rest to its thread; [`finish`](Self::finish) waits and says how it went.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    blocks: SyncSender<Message>,
    next_stream: AtomicU64,
    thread: Option<JoinHandle<JournalSummary>>,
}

/// What became of a log.
#[derive(Clone, Debug)]
pub struct JournalSummary {
    pub path: PathBuf,
    /// Written, header included.
    pub bytes: u64,
    pub arrivals: u64,
    pub delivered: u64,
    pub dropped: u64,
    /// Of all verdicts; `netem-proxy replay` prints the same.
    pub digest: Digest,
    /// Why the log cannot be replayed to its end, for people; `None` if it can.
    pub fault: Option<String>,
}

impl Journal {
    /// Creates the file, or empties it, and starts the thread that writes it.
    ///
    /// # Errors
    /// When the file cannot be created or the system refuses a thread.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let head = header();
        file.write_all(&head)?;
        let (blocks, inbox) = mpsc::sync_channel(QUEUED_BLOCKS);
        let writer = Writer {
            path: path.to_owned(),
            file,
            bytes: head.len() as u64,
            book: Book::default(),
            fault: None,
        };
        let thread =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&inbox))?;
        Ok(Self { path: path.to_owned(), blocks, next_stream: AtomicU64::new(0), thread: Some(thread) })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The observer for one more driver. Streams are numbered in the order in which they are asked for.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        let stream = self.next_stream.fetch_add(1, Ordering::Relaxed);
        Recorder {
            stream,
            writer: BlockWriter::new(stream),
            blocks: self.blocks.clone(),
            profiles: VecDeque::new(),
            next_profile: 0,
            begun: None,
            gap: None,
            lost: 0,
        }
    }

    /// Writes what has been handed over and closes the file. Call it when the drivers have stopped: what a recorder
    /// that is still alive holds back is missing, and its stream has no end.
    pub fn finish(mut self) -> JournalSummary {
        let _ = self.blocks.send(Message::Stop);
        let summary = self.thread.take().and_then(|thread| thread.join().ok());
        summary.unwrap_or_else(|| JournalSummary {
            path: self.path.clone(),
            bytes: 0,
            arrivals: 0,
            delivered: 0,
            dropped: 0,
            digest: Book::default().digest(),
            fault: Some("the thread that writes it ended early".to_owned()),
        })
    }
}

/// Blocks that wait for the disk: with 64 KiB each, four megabytes or two seconds at 150,000 packets a second.
pub const QUEUED_BLOCKS: usize = 64;

#[derive(Debug)]
enum Message {
    Block(Vec<u8>),
    /// The stream is complete; its summary goes into a block of this number.
    End {
        stream: u64,
        number: BlockWriter,
    },
    Stop,
}

/// Records the links of one driver; see [`Journal::recorder`].
#[derive(Debug)]
pub struct Recorder {
    stream: u64,
    writer: BlockWriter,
    blocks: SyncSender<Message>,
    /// Those that were written lately, with their numbers; flows mostly share a few.
    profiles: VecDeque<(LinkProfile, u64)>,
    next_profile: u64,
    /// When the present block was begun.
    begun: Option<Timestamp>,
    /// Why nothing more is recorded.
    gap: Option<String>,
    lost: u64,
}

impl Recorder {
    /// See [`Record::Opened`].
    pub fn opened(&mut self, link: &LinkOpened<'_>) {
        let Some(profile) = self.profile(link.profile) else { return };
        let (name, seed) = (link.name.to_owned(), link.seed);
        self.push(&Record::Opened {
            link: link.id.as_u64(),
            direction: link.direction,
            name,
            seed,
            origin: link.origin,
            profile,
        });
    }

    /// See [`Record::Configured`].
    pub fn configured(&mut self, link: LinkId, at: Timestamp, profile: &LinkProfile) {
        let Some(profile) = self.profile(profile) else { return };
        self.push(&Record::Configured { link: link.as_u64(), at, profile });
    }

    /// See [`Record::Arrival`].
    pub fn arrival(&mut self, link: LinkId, at: Timestamp, meta: &Meta) {
        if self.may_record() {
            let (context, payload) = self.writer.open();
            context.encode_arrival(link.as_u64(), at, meta, payload);
            self.flush_if_due(at);
        }
    }

    /// See [`Record::Verdict`].
    pub fn verdict(&mut self, link: LinkId, verdict: &Verdict) {
        if self.may_record() {
            let (context, payload) = self.writer.open();
            context.encode_verdict(link.as_u64(), verdict, payload);
            self.flush_if_full();
        }
    }

    /// Ends the log here: verdicts are missing, of which only the number is known.
    pub fn missed_drops(&mut self, count: u64) {
        self.lost += count;
        self.give_up(&format!("{count} drops at once were more than a link traces"));
    }

    /// See [`Record::Discarded`].
    pub fn discarded(&mut self, link: LinkId) {
        self.push(&Record::Discarded { link: link.as_u64() });
    }

    /// See [`Record::Closed`].
    pub fn closed(&mut self, link: LinkId) {
        self.push(&Record::Closed { link: link.as_u64() });
    }

    /// Records not written, because the disk was too slow or the link dropped too many packets at once.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Ends the log here, for a reason that its reader is told; the first one counts.
    pub fn give_up(&mut self, reason: &str) {
        self.gap.get_or_insert_with(|| reason.to_owned());
    }

    fn may_record(&mut self) -> bool {
        self.lost += u64::from(self.gap.is_some());
        self.gap.is_none()
    }

    fn push(&mut self, record: &Record) {
        if self.may_record() {
            self.writer.push(record);
            self.flush_if_full();
        }
    }

    /// The number of a profile, which is written first if need be.
    fn profile(&mut self, profile: &LinkProfile) -> Option<u64> {
        if let Some((_, number)) = self.profiles.iter().find(|(known, _)| known == profile) {
            return Some(*number);
        }
        match Portable::new(profile) {
            Ok(portable) => {
                let number = self.next_profile;
                self.next_profile += 1;
                self.push(&Record::Profile { number, profile: portable });
                self.profiles.push_front((profile.clone(), number));
                self.profiles.truncate(REMEMBERED_PROFILES);
                Some(number)
            }
            Err(error) => {
                self.give_up(&error.to_string());
                None
            }
        }
    }

    /// Also hands over a block that has become old, so that a run that is killed leaves all but its last second.
    fn flush_if_due(&mut self, now: Timestamp) {
        let begun = *self.begun.get_or_insert(now);
        if now.since(begun) >= MAX_BLOCK_AGE { self.flush() } else { self.flush_if_full() }
    }

    fn flush_if_full(&mut self) {
        if self.writer.is_full() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.begun = None;
        let Some(payload) = self.writer.take() else { return };
        match self.blocks.try_send(Message::Block(payload)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.writer.take_back();
                self.give_up("the disk did not keep up, and records were lost");
                self.lost += 1;
            }
            // Somebody finished the journal; there is nobody left to tell.
            Err(TrySendError::Disconnected(_)) => self.give_up("the journal was closed"),
        }
    }
}

impl Drop for Recorder {
    /// Hands over the rest. This waits for room in the queue: a driver that ends has the time.
    fn drop(&mut self) {
        let ends_in_gap = self.gap.is_some();
        if let Some(reason) = self.gap.take() {
            self.writer.push(&Record::Gap { reason });
        }
        if let Some(payload) = self.writer.take() {
            let _ = self.blocks.send(Message::Block(payload));
        }
        if !ends_in_gap {
            let number = std::mem::replace(&mut self.writer, BlockWriter::new(self.stream));
            let _ = self.blocks.send(Message::End { stream: self.stream, number });
        }
    }
}

/// Every call is one record; a log needs neither payloads nor release times.
impl<P> Observer<P> for Recorder {
    fn on_open(&mut self, link: &LinkOpened<'_>) {
        self.opened(link);
    }

    fn on_configure(&mut self, id: LinkId, at: Timestamp, profile: &LinkProfile) {
        self.configured(id, at, profile);
    }

    fn on_arrival(&mut self, id: LinkId, at: Timestamp, _number: u64, meta: &Meta, _packet: &P) {
        self.arrival(id, at, meta);
    }

    fn on_drop(&mut self, id: LinkId, event: &LinkEvent<P>) {
        self.verdict(id, &event.into());
    }

    fn on_missed_drops(&mut self, _id: LinkId, count: u64) {
        self.missed_drops(count);
    }

    fn on_delivery(&mut self, id: LinkId, delivery: &Delivery<P>, _released: Timestamp) {
        self.verdict(id, &delivery.into());
    }

    fn on_discard(&mut self, id: LinkId, _at: Timestamp) {
        self.discarded(id);
    }

    fn on_close(&mut self, id: LinkId) {
        self.closed(id);
    }
}

/// Profiles looked through before one is written again.
const REMEMBERED_PROFILES: usize = 16;

/// What a killed run may lose, as long as packets come.
const MAX_BLOCK_AGE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    book: Book,
    fault: Option<String>,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Message>) -> JournalSummary {
        loop {
            match inbox.recv() {
                Ok(Message::Block(payload)) => self.block(&payload),
                Ok(Message::End { stream, mut number }) => {
                    number.push(&Record::End { summary: self.book.summary(stream) });
                    if let Some(payload) = number.take() {
                        self.write(&payload);
                    }
                }
                Ok(Message::Stop) | Err(_) => break,
            }
        }
        if let Err(error) = self.file.flush() {
            self.fail(&error);
        }
        let mut summary = JournalSummary {
            path: self.path,
            bytes: self.bytes,
            arrivals: 0,
            delivered: 0,
            dropped: 0,
            digest: self.book.digest(),
            fault: self.fault,
        };
        for (_, stream) in self.book.summaries() {
            summary.arrivals += stream.arrivals;
            summary.delivered += stream.delivered;
            summary.dropped += stream.dropped;
        }
        summary
    }

    fn block(&mut self, payload: &[u8]) {
        match decode(payload) {
            Some(block) => {
                for record in &block.records {
                    if let Record::Gap { reason } = record {
                        self.fault.get_or_insert_with(|| reason.clone());
                    }
                    self.book.enter(block.stream, record);
                }
            }
            None => {
                let fault = "it holds a record that this program cannot read back";
                self.fault.get_or_insert_with(|| fault.to_owned());
            }
        }
        self.write(payload);
    }

    fn write(&mut self, payload: &[u8]) {
        let block = frame(payload);
        // Flushed block by block: the system has it then, even if this process is killed.
        match self.file.write_all(&block).and_then(|()| self.file.flush()) {
            Ok(()) => self.bytes += block.len() as u64,
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        let path = self.path.display();
        self.fault.get_or_insert_with(|| format!("cannot write {path}: {error}"));
    }
}
