//! The file and its thread.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use units::Clock;

use super::observer::Capture;
use super::pcapng::{Encoder, INTERFACES};

/// A pcapng file being written. [`finish`](Self::finish) waits for the disk and adds the statistics.
#[derive(Debug)]
pub struct CaptureFile {
    path: PathBuf,
    clock: Clock,
    chunks: SyncSender<Message>,
    thread: Option<JoinHandle<CaptureSummary>>,
}

/// What became of a capture.
#[derive(Clone, Debug)]
pub struct CaptureSummary {
    pub path: PathBuf,
    /// In the file, in both directions and on all sides.
    pub packets: u64,
    /// Not in the file, because the disk was too slow or a link dropped too many at once.
    pub lost: u64,
    pub bytes: u64,
    /// Why the file is not whole, for people.
    pub fault: Option<String>,
}

/// Chunks that wait for the disk: with 256 KiB each, 16 MiB.
pub const QUEUED_CHUNKS: usize = 64;

/// Packets, by interface.
pub(super) type Counts = [u64; INTERFACES.len()];

#[derive(Debug)]
pub(super) enum Message {
    Chunk { bytes: Vec<u8>, packets: Counts },
    Lost(Counts),
    Stop,
}

impl CaptureFile {
    /// Creates the file, or empties it, and starts the thread that writes it. `clock` is the drivers'.
    ///
    /// # Errors
    /// When the file cannot be created or the system refuses a thread.
    pub fn create(path: &Path, clock: Clock) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut head = Vec::new();
        Encoder.begin(&mut head);
        file.write_all(&head)?;
        let (chunks, inbox) = mpsc::sync_channel(QUEUED_CHUNKS);
        let writer = Writer {
            file,
            clock,
            written: Counts::default(),
            lost: Counts::default(),
            summary: CaptureSummary {
                path: path.to_owned(),
                packets: 0,
                lost: 0,
                bytes: head.len() as u64,
                fault: None,
            },
        };
        let thread =
            std::thread::Builder::new().name("capture".to_owned()).spawn(move || writer.run(&inbox))?;
        Ok(Self { path: path.to_owned(), clock, chunks, thread: Some(thread) })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The observer for one more driver.
    #[must_use]
    pub fn capture(&self) -> Capture {
        Capture::new(self.clock, self.chunks.clone())
    }

    /// Writes what has been handed over and closes the file. Call it when the drivers have stopped.
    pub fn finish(mut self) -> CaptureSummary {
        let _ = self.chunks.send(Message::Stop);
        let summary = self.thread.take().and_then(|thread| thread.join().ok());
        summary.unwrap_or_else(|| CaptureSummary {
            path: self.path.clone(),
            packets: 0,
            lost: 0,
            bytes: 0,
            fault: Some("the thread that writes it ended early".to_owned()),
        })
    }
}

struct Writer {
    file: BufWriter<File>,
    clock: Clock,
    written: Counts,
    lost: Counts,
    summary: CaptureSummary,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Message>) -> CaptureSummary {
        loop {
            match inbox.recv() {
                Ok(Message::Chunk { bytes, packets }) => {
                    self.write(&bytes);
                    add(&mut self.written, &packets);
                }
                Ok(Message::Lost(packets)) => add(&mut self.lost, &packets),
                Ok(Message::Stop) | Err(_) => break,
            }
        }
        let unix_nanos = unix_nanos(&self.clock, self.clock.now());
        let mut statistics = Vec::new();
        for (place, interface) in INTERFACES.into_iter().enumerate() {
            let (seen, lost) = (self.written[place] + self.lost[place], self.lost[place]);
            Encoder.statistics(interface, unix_nanos, seen, lost, &mut statistics);
        }
        self.write(&statistics);
        self.summary.packets = self.written.iter().sum();
        self.summary.lost = self.lost.iter().sum();
        self.summary
    }

    fn write(&mut self, bytes: &[u8]) {
        match self.file.write_all(bytes).and_then(|()| self.file.flush()) {
            Ok(()) => self.summary.bytes += bytes.len() as u64,
            Err(error) => {
                let path = self.summary.path.display();
                self.summary.fault.get_or_insert_with(|| format!("cannot write {path}: {error}"));
            }
        }
    }
}

fn add(sum: &mut Counts, more: &Counts) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

pub(super) fn unix_nanos(clock: &Clock, at: units::Timestamp) -> u64 {
    // Microseconds are all that a double holds of the present time; spans between packets stay exact.
    ((clock.unix_at_zero() * 1e6) as u64).saturating_mul(1_000).saturating_add(at.as_nanos())
}
