//! Verdicts by stream and link, summed up to fingerprints.
//!
//! The writer of a log and its replay keep the same book, so that equal books mean equal runs. A link that has closed
//! is folded into its stream's digest; memory is bounded by the links that are open at a time.

use std::collections::BTreeMap;

use super::record::{Record, StreamSummary};
use super::verdict::{Digest, RunDigest, Verdict, VerdictDigest};

#[derive(Debug, Default)]
pub(super) struct Book {
    streams: BTreeMap<u64, StreamBook>,
}

#[derive(Debug, Default)]
struct StreamBook {
    arrivals: u64,
    delivered: u64,
    dropped: u64,
    open: BTreeMap<u64, (String, VerdictDigest)>,
    closed: RunDigest,
}

impl Book {
    /// Enters what a live run wrote.
    pub(super) fn enter(&mut self, stream: u64, record: &Record) {
        match record {
            Record::Opened { link, name, .. } => self.open(stream, *link, name),
            Record::Arrival { .. } => self.arrival(stream),
            Record::Verdict { link, verdict } => self.verdict(stream, *link, verdict),
            Record::Closed { link } => self.close(stream, *link),
            _ => {}
        }
    }

    pub(super) fn open(&mut self, stream: u64, link: u64, name: &str) {
        let book = self.streams.entry(stream).or_default();
        book.open.insert(link, (format!("{link} {name}"), VerdictDigest::default()));
    }

    pub(super) fn arrival(&mut self, stream: u64) {
        self.streams.entry(stream).or_default().arrivals += 1;
    }

    pub(super) fn verdict(&mut self, stream: u64, link: u64, verdict: &Verdict) {
        let book = self.streams.entry(stream).or_default();
        if let Some((_, digest)) = book.open.get_mut(&link) {
            digest.add(verdict);
        }
        match verdict.fate {
            super::Fate::Delivered { .. } => book.delivered += 1,
            super::Fate::Dropped { .. } => book.dropped += 1,
        }
    }

    pub(super) fn close(&mut self, stream: u64, link: u64) {
        let book = self.streams.entry(stream).or_default();
        if let Some((name, digest)) = book.open.remove(&link) {
            book.closed.add(&name, digest.digest());
        }
    }

    pub(super) fn summary(&self, stream: u64) -> StreamSummary {
        self.streams.get(&stream).map_or_else(|| StreamBook::default().summary(), StreamBook::summary)
    }

    /// Over all streams.
    pub(super) fn digest(&self) -> Digest {
        let mut all = RunDigest::default();
        for (stream, book) in &self.streams {
            all.add(&stream.to_string(), book.summary().digest);
        }
        all.digest()
    }

    pub(super) fn summaries(&self) -> impl Iterator<Item = (u64, StreamSummary)> {
        self.streams.iter().map(|(stream, book)| (*stream, book.summary()))
    }
}

impl StreamBook {
    fn summary(&self) -> StreamSummary {
        let mut all = self.closed;
        for (name, digest) in self.open.values() {
            all.add(name, digest.digest());
        }
        let Self { arrivals, delivered, dropped, .. } = *self;
        StreamSummary { arrivals, delivered, dropped, digest: all.digest() }
    }
}
