//! Hears what happens in a run and keeps what its record needs, no more.
//!
//! A driver tells a [`Recorder`] each [`Seen`] as it happens. The `ledger` holds what is not settled and passes the
//! verdict on each (message, recipient) pair: once only, in order, nothing invented, nothing lost. A message that is done
//! with goes into the books (histograms, intervals, the slowest few, coarse records of clients) and is forgotten. So a
//! run of an hour needs as much memory as one of a minute; what bounds each part is named where it is.
//!
//! Calling order: [`Recorder::begin`] when the first phase begins, [`Recorder::on`] for each value in the order that
//! [`Seen`] promises, [`Recorder::tick`] about once a second, [`Recorder::finish`]. Between two of these calls nothing
//! allocates once everything has its size.

mod bins;
mod exemplars;
mod leaves;
mod ledger;
mod load;
mod people;
mod rows;
mod series;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use chat_core::trace::waits::{Wait, Waited};
use units::Timestamp;

use super::causes::{self, Bases, Causes};
use super::since_began;
use super::standing::Standing;
use crate::backend::Cast;
use crate::backend::waits::NotTold;
use crate::distribution::Distribution;
use crate::record::DeliveryRow;
use crate::records::{
    ClientRecord, Exemplar, Interval, Intervals, Latencies, QuantileEstimate, RecoveryRecord, SessionCounts,
    WorkloadRecord,
};
use crate::result::Messages;
use crate::scenario::{Deliveries, PerClient, Scenario};
use crate::seen::{Arrival, Seen};
use crate::stats::cluster;
use crate::workload::Intent;

use bins::Bins;
use exemplars::{Delivery, Slowest};
use ledger::{Books, Ledger, Message, Pair, State};
use people::{Clients, Recoveries};
use rows::Rows;
use series::Series;
use troubles::Troubles;

pub(super) use bins::{FINE, fine};
pub(super) use ledger::Waits;
pub use load::InLoad;
pub(super) use load::Load;
pub(super) use people::weather;
pub use series::{Sample, ServerSample};

/// Hears a run.
#[derive(Debug)]
pub struct Recorder {
    ledger: Ledger,
    book: Book,
    /// When each client began to connect, while it does.
    connecting: Vec<Option<Timestamp>>,
    /// How many do.
    attempts: u64,
    is_connected: Vec<bool>,
    /// Whether each has ever been welcomed.
    was_connected: Vec<bool>,
    connected: u64,
    has_begun: bool,
}

/// What a recorder leaves behind.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Of recorded phases.
    pub messages: Messages,
    /// Messages that the schedule asked for, handed to the protocol, and refused at a bound, in all phases.
    pub asked: u64,
    pub submitted: u64,
    pub refused: u64,
    /// What happened while a recorded phase went on.
    pub in_load: InLoad,
    /// In the order of the scenario.
    pub workloads: Vec<WorkloadRecord>,
    pub all: Latencies,
    /// Of `all.delivery`.
    pub quantiles: Vec<QuantileEstimate>,
    pub connect: Distribution,
    /// Without `orphans`, which only a server knows.
    pub sessions: SessionCounts,
    pub lag: Distribution,
    pub intervals: Intervals,
    pub clients: Vec<ClientRecord>,
    pub exemplars: Vec<Exemplar>,
    pub recoveries: Vec<RecoveryRecord>,
    /// By message, then recipient; `cell` and `repeat` are 0.
    pub deliveries: Vec<DeliveryRow>,
    pub(crate) causes: Causes,
    pub(crate) untold: Option<NotTold>,
    pub(crate) waits_forgotten: u64,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// What a recorder holds at the moment; none of it may grow with the length of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Messages in the ledger, done with or not, and pairs of those that are not.
    pub messages: usize,
    pub pairs: usize,
    /// Intervals, and how many of them are still filled quickly.
    pub intervals: usize,
    pub dense: usize,
}

impl Recorder {
    /// For one run of `scenario` with the clients of `cast`. `waits`: whether both ends tell what messages waited for, or
    /// why not.
    #[must_use]
    pub fn new(scenario: &Scenario, cast: Arc<Cast>, waits: Result<(), NotTold>) -> Self {
        let clients = cast.clients() as usize;
        Self {
            book: Book::new(scenario, Arc::clone(&cast), waits.err()),
            ledger: Ledger::new(scenario, cast, waits.is_ok()),
            connecting: vec![None; clients],
            attempts: 0,
            is_connected: vec![false; clients],
            was_connected: vec![false; clients],
            connected: 0,
            has_begun: false,
        }
    }

    /// The first phase begins; times in records count from here.
    pub fn begin(&mut self, at: Timestamp) {
        self.book.began = at;
        self.has_begun = true;
    }

    pub fn on(&mut self, seen: Seen) {
        let (ledger, book) = (&mut self.ledger, &mut self.book);
        match seen {
            Seen::Intent(intent) => {
                book.intended(&intent);
                ledger.on_intent(intent);
            }
            Seen::Submitted { message, at } => {
                if let Some(message) = ledger.on_submitted(message, at) {
                    book.submitted(message, at);
                }
            }
            Seen::Refused { message } => {
                if let Some(intent) = ledger.on_refused(message, book) {
                    book.refused += 1;
                    book.row(intent.intended).throttled += 1;
                }
            }
            Seen::Acked { message, at } => ledger.on_acked(message, at, book),
            Seen::Received { message } => ledger.on_received(message, book),
            Seen::Failed { message, .. } => {
                if let Some(intent) = ledger.on_failed(message, book) {
                    book.row(intent.intended).failed += 1;
                }
            }
            Seen::Arrived(arrival) => ledger.on_arrival(&arrival, book),
            Seen::Connecting { .. }
            | Seen::Connected { .. }
            | Seen::Refusal { .. }
            | Seen::Present { .. }
            | Seen::Gone { .. } => self.on_client(seen),
        }
    }

    fn on_client(&mut self, seen: Seen) {
        match seen {
            Seen::Connecting { client, at } => {
                let before = self.connecting[client as usize].replace(at);
                self.attempts += u64::from(before.is_none());
            }
            Seen::Connected { client, at, is_resumed } => {
                let was_connected = std::mem::replace(&mut self.was_connected[client as usize], true);
                let sessions = &mut self.book.sessions;
                if let Some(since) = self.connecting[client as usize].take() {
                    self.attempts -= 1;
                    self.book.connect.record(Some(since_began(since, at)));
                    sessions.comebacks += u64::from(was_connected);
                }
                if is_resumed {
                    sessions.resumed += 1;
                    self.book.clients.reconnected(client);
                }
                if std::mem::replace(&mut self.is_connected[client as usize], true) {
                    // It had not left, so it wanted to go on.
                    sessions.forgotten += u64::from(!is_resumed);
                } else {
                    self.connected += 1;
                }
            }
            Seen::Present { client, at } => self.ledger.on_back(client, at),
            Seen::Refusal { client, .. } => {
                let was_trying = self.connecting[client as usize].take().is_some();
                if was_trying {
                    self.attempts -= 1;
                    self.book.connect.record(None);
                }
            }
            Seen::Gone { client, .. } => {
                if std::mem::replace(&mut self.is_connected[client as usize], false) {
                    self.connected -= 1;
                }
                self.ledger.on_gone(client, &mut self.book);
            }
            _ => {}
        }
    }

    /// Both ends will name `message` by its author and this number.
    pub fn on_named(&mut self, message: u32, number: u64) {
        if self.book.untold != Some(NotTold::Baseline) {
            self.ledger.on_named(message, number);
        }
    }

    /// Client `index` tells what a message waited for, before it is told as heard or acknowledged; or what happened to one of its own. With a server elsewhere only the
    /// latter is taken: half of the waits would be none, but what one end saw happen did happen.
    pub fn on_client_wait(&mut self, index: u32, waited: &Waited) {
        let Some(message) = self.named(waited) else {
            return;
        };
        match &waited.wait {
            Wait::Steps(steps) => self.ledger.on_steps(message, None, steps),
            _ if self.book.untold.is_some() => {}
            Wait::Sent(_) => {
                self.ledger.on_up(message, true, |waits| waits.take(&waited.wait), &mut self.book)
            }
            Wait::Order { .. } => {
                let take = |waits: &mut Waits| waits.take(&waited.wait);
                self.ledger.on_down(message, index, false, take, &mut self.book);
            }
        }
    }

    /// The server tells, of the connection with this client; `None` is one that has no part in the schedule.
    pub fn on_server_wait(&mut self, client: Option<u32>, waited: &Waited) {
        let Some(message) = self.named(waited) else {
            return;
        };
        let take = |waits: &mut Waits| waits.take(&waited.wait);
        match (&waited.wait, client) {
            (Wait::Order { at, .. }, _) => {
                self.ledger.on_passed_on(message, *at);
                self.ledger.on_up(message, false, take, &mut self.book);
            }
            (Wait::Steps(steps), Some(client)) => self.ledger.on_steps(message, Some(client), steps),
            (Wait::Sent(_), Some(client)) => {
                self.ledger.on_down(message, client, true, take, &mut self.book);
            }
            (Wait::Sent(_) | Wait::Steps(_), None) => {}
        }
    }

    /// So many waits were dropped before anybody took them.
    pub fn on_waits_forgotten(&mut self, count: u64) {
        self.book.waits_forgotten += count;
    }

    /// It is `now`: what is overdue is lost, and intervals that ended are closed. `sample`: what the driver counts by
    /// itself; the one at the beginning is what all others are counted from. Nothing before that.
    pub fn tick(&mut self, now: Timestamp, sample: Option<Sample>) {
        if !self.has_begun {
            return;
        }
        self.ledger.sweep(now, &mut self.book);
        let us = since_began(self.book.began, now);
        self.book.series.tick(us, self.connected, self.ledger.under_way(), sample);
    }

    /// Whether nothing is waited for any more: every submitted message has an end, and was heard by all who should, and
    /// nobody is on the way back.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ledger.is_settled() && self.attempts == 0
    }

    /// The intervals from number `first` on that ended before `now`, as they stand: what is under way may still come in.
    pub fn ended_intervals(&self, first: usize, now: Timestamp) -> impl Iterator<Item = Interval> {
        self.book.series.ended(first, since_began(self.book.began, now))
    }

    /// Length of an interval. It doubles when a run is too long.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.book.series.width()
    }

    /// What has been settled so far. It copies what it tells, so it is for once an interval.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (connect, lag) = (self.book.connect.clone(), self.book.lag.clone());
        let record = |work: &Work| WorkloadRecord {
            name: work.name.clone(),
            messages: work.messages.clone(),
            latencies: work.latencies.clone(),
            quantiles: Vec::new(),
        };
        let unnamed = Messages {
            corrupted: self.book.invented,
            duplicated: self.book.repeated,
            late: self.book.late,
            ..Messages::default()
        };
        Standing { workloads: self.book.works.iter().map(record).collect(), unnamed, connect, lag }
    }

    #[must_use]
    pub fn held(&self) -> Held {
        let (messages, pairs) = self.ledger.held();
        let (intervals, dense) = self.book.series.held();
        Held { messages, pairs, intervals, dense }
    }

    /// The run ended at `at`: what has not arrived is lost, and who is still connecting will not.
    #[must_use]
    pub fn finish(mut self, scenario: &Scenario, at: Timestamp) -> Recorded {
        self.ledger.finish(&mut self.book);
        debug_assert!(self.ledger.is_settled(), "a message that is told owes nothing");
        let cut_off = self.settle_attempts(at);
        self.book.sessions.open = cut_off;
        let beyond =
            Beyond { unordered: self.ledger.unordered(), steps: self.ledger.steps_left_out(), cut_off };
        self.book.finish(scenario, at, beyond)
    }

    /// Attempts to connect that still go on: one that takes as long as none that succeeded counts as never; how many were
    /// just cut off.
    fn settle_attempts(&mut self, at: Timestamp) -> u64 {
        let longest = self.book.connect.range().map_or(0, |(_, longest)| longest);
        let mut cut_off = 0;
        for since in self.connecting.iter_mut().filter_map(Option::take) {
            if since_began(since, at) > longest {
                self.book.connect.record(None);
            } else {
                cut_off += 1;
            }
        }
        cut_off
    }

    /// Joins, notices and the like are no messages of the schedule.
    fn named(&self, waited: &Waited) -> Option<u32> {
        if self.book.untold == Some(NotTold::Baseline) {
            return None;
        }
        let (author, number) = waited.msg_id.as_str().rsplit_once('-')?;
        let author = author.strip_prefix('c')?.parse().ok()?;
        self.ledger.named(author, number.parse().ok()?)
    }
}

impl Waits {
    fn take(&mut self, wait: &Wait) {
        let us = |span: Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        match wait {
            Wait::Sent(delays) => {
                self.window = us(delays.window);
                self.pacing = us(delays.pacing);
                self.flow = us(delays.flow);
                self.loss = us(delays.loss);
            }
            Wait::Order { span, .. } => self.order = us(*span),
            Wait::Steps(_) => {}
        }
    }
}

/// What a ledger had no room for.
#[derive(Clone, Copy, Debug)]
struct Beyond {
    unordered: u64,
    steps: u64,
    /// Attempts to connect that the end of the run cut off.
    cut_off: u64,
}

/// Everything that is only added to.
#[derive(Debug)]
struct Book {
    cast: Arc<Cast>,
    began: Timestamp,
    bins: Bins,
    works: Vec<Work>,
    series: Series,
    clients: Clients,
    recoveries: Recoveries,
    rows: Rows,
    bases: Bases,
    causes: Causes,
    connect: Distribution,
    sessions: SessionCounts,
    lag: Distribution,
    asked: u64,
    submitted: u64,
    refused: u64,
    load: Load,
    in_load: InLoad,
    invented: u64,
    /// Second arrivals of messages that are forgotten.
    repeated: u64,
    late: u64,
    untold: Option<NotTold>,
    waits_forgotten: u64,
    /// Latencies of the message that is being settled.
    scratch: Vec<u64>,
}

/// One workload.
#[derive(Debug)]
struct Work {
    name: String,
    messages: Messages,
    latencies: Latencies,
    /// How much the deliveries of one message have in common.
    cluster: cluster::Messages,
    slowest: Slowest,
    /// An acknowledgement that never came is no sample.
    may_give_up: bool,
    /// Whether the transport tells of acknowledgements.
    tells_acks: bool,
}

impl Book {
    fn new(scenario: &Scenario, cast: Arc<Cast>, untold: Option<NotTold>) -> Self {
        let works = scenario.workloads.iter().map(|workload| Work {
            name: workload.name.clone(),
            messages: Messages::default(),
            latencies: Latencies::default(),
            cluster: cluster::Messages::default(),
            slowest: Slowest::new(scenario.measure.exemplars as usize),
            may_give_up: workload.may_give_up(),
            tells_acks: !scenario.transport.is_baseline(),
        });
        Self {
            works: works.collect(),
            clients: Clients::new(cast.clients()),
            cast,
            began: Timestamp::ZERO,
            bins: Bins::new(),
            series: Series::new(scenario.measure.interval),
            recoveries: Recoveries::new(scenario),
            rows: Rows::new(scenario, most_rows(scenario)),
            bases: Bases::new(scenario),
            causes: Causes::default(),
            connect: Distribution::default(),
            sessions: SessionCounts::default(),
            lag: Distribution::default(),
            asked: 0,
            submitted: 0,
            refused: 0,
            load: Load::of(scenario),
            in_load: InLoad::default(),
            invented: 0,
            repeated: 0,
            late: 0,
            untold,
            waits_forgotten: 0,
            scratch: Vec::new(),
        }
    }

    fn row(&mut self, at: Timestamp) -> &mut Interval {
        let us = since_began(self.began, at);
        &mut self.series.at(us).counts
    }

    fn intended(&mut self, intent: &Intent) {
        self.asked += 1;
        self.row(intent.intended).intended += 1;
    }

    fn submitted(&mut self, message: &Message, at: Timestamp) {
        let intent = &message.intent;
        self.submitted += 1;
        self.row(at).sent += 1;
        self.in_load.sent += u64::from(self.load.holds(since_began(self.began, at)));
        let lag = since_began(intent.intended, at);
        if message.is_recorded {
            self.lag.record(Some(lag));
        }
        let intended = since_began(self.began, intent.intended);
        self.series.lag(&self.bins, intended, lag);
    }

    fn finish(self, scenario: &Scenario, at: Timestamp, beyond: Beyond) -> Recorded {
        let mut messages =
            Messages { corrupted: self.invented, duplicated: self.repeated, ..Messages::default() };
        let mut all = Latencies::default();
        let mut cluster = cluster::Messages::default();
        let mut exemplars = Vec::new();
        let mut workloads = Vec::new();
        for mut work in self.works {
            work.latencies.compact();
            debug_assert!(work.messages.is_conserved(), "{:?}", work.messages);
            messages.add(&work.messages);
            all.merge(&work.latencies);
            cluster.merge(&work.cluster);
            let quantiles = work.cluster.estimates(&work.latencies.delivery);
            exemplars.extend(work.slowest.finish(&work.name, &work.latencies.delivery));
            workloads.push(WorkloadRecord {
                name: work.name,
                messages: work.messages,
                latencies: work.latencies,
                quantiles,
            });
        }
        messages.late = self.late;
        let (deliveries, left_out) = self.rows.finish();
        let mut warnings = Vec::new();
        if left_out > 0 && scenario.measure.deliveries != Deliveries::None {
            warnings.push(format!(
                "deliveries.csv lacks the last {left_out} deliveries to settle; for more of them raise measure.deliveries"
            ));
        }
        let Beyond { unordered, steps, cut_off } = beyond;
        if cut_off > 0 {
            warnings.push(format!(
                "{cut_off} attempts to connect had only begun when the run ended, and are not counted"
            ));
        }
        if unordered > 0 {
            warnings.push(format!(
                "{unordered} deliveries were not held to an order: too many clients hear each other"
            ));
        }
        if steps > 0 {
            warnings.push(format!(
                "of {steps} messages in trouble nobody knows the steps: too many were in trouble at once"
            ));
        }
        Recorded {
            messages,
            asked: self.asked,
            submitted: self.submitted,
            refused: self.refused,
            in_load: self.in_load,
            workloads,
            quantiles: cluster.estimates(&all.delivery),
            all,
            connect: self.connect,
            sessions: self.sessions,
            lag: self.lag,
            intervals: self.series.finish(),
            clients: match scenario.measure.per_client {
                PerClient::None => Vec::new(),
                // Those with the slowest p99 are found among them.
                PerClient::Top(_) | PerClient::All => self.clients.finish(scenario),
            },
            exemplars,
            recoveries: self.recoveries.finish(since_began(self.began, at)),
            deliveries,
            causes: self.causes,
            untold: self.untold,
            waits_forgotten: self.waits_forgotten,
            warnings,
        }
    }
}

impl Books for Book {
    fn heard(&mut self, intent: &Intent, _is_recorded: bool, arrival: &Arrival) {
        let (us, intended) = (since_began(self.began, arrival.at), since_began(self.began, intent.intended));
        self.recoveries.heard(arrival.recipient, us);
        if arrival.intact {
            if self.load.holds(us) {
                self.in_load.delivered += 1;
                self.in_load.delivered_bytes += u64::from(intent.size);
            }
            let row = &mut self.series.at(us).counts;
            row.delivered += 1;
            row.delivered_bytes += u64::from(intent.size);
            self.series.latency(&self.bins, intended, us.saturating_sub(intended));
        }
    }

    fn settled(&mut self, message: &Message, pairs: &[Pair], troubles: &Troubles) {
        let mut sum = Sum::default();
        self.scratch.clear();
        for (seat, pair) in (0..).zip(pairs).filter(|(_, pair)| pair.state != State::Vacant) {
            let recipient = self.cast.at_seat(&message.intent, seat);
            self.pair(message, recipient, pair, troubles, &mut sum);
        }
        let row = self.row(message.intent.intended);
        row.expected += sum.expected;
        row.lost += sum.lost + sum.corrupted;
        if message.is_recorded {
            self.message(message, &sum);
        }
    }

    fn again(&mut self, is_recorded: bool, known: Option<(&Message, &Arrival)>) {
        let one = u64::from(is_recorded);
        match known {
            Some((message, arrival)) => {
                self.works[usize::from(message.intent.workload)].messages.duplicated += one;
                self.rows.again(self.began, message, arrival.recipient, arrival.at);
            }
            None => self.repeated += one,
        }
    }

    fn late(&mut self, is_recorded: bool) {
        self.late += u64::from(is_recorded);
    }

    fn invented(&mut self) {
        self.invented += 1;
    }
}

/// The pairs of one message.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    expected: u64,
    delivered: u64,
    corrupted: u64,
    lost: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Book {
    fn pair(&mut self, message: &Message, recipient: u32, pair: &Pair, troubles: &Troubles, sum: &mut Sum) {
        let intent = &message.intent;
        let work = &mut self.works[usize::from(intent.workload)];
        let one = u64::from(message.is_recorded);
        let counts = &mut work.messages;
        match pair.state {
            State::Delivered => {
                sum.delivered += 1;
                sum.first = Some(sum.first.map_or(pair.at, |first| first.min(pair.at)));
                sum.last = sum.last.max(Some(pair.at));
                counts.reordered += one * u64::from(pair.is_out_of_order);
            }
            State::Corrupted => sum.corrupted += 1,
            State::Open | State::Lost => sum.lost += 1,
            State::Left => counts.excused += one,
            State::Expired => counts.expired += one,
            State::Superseded => counts.superseded += one,
            State::Vacant => {}
        }
        let is_expected =
            matches!(pair.state, State::Delivered | State::Corrupted | State::Open | State::Lost);
        sum.expected += u64::from(is_expected);
        let arrived =
            (pair.state == State::Delivered).then(|| us_between(self.began, intent.intended, pair.at));
        // Half of a story would put the rest on the path.
        let is_told = message.tells_waits && message.is_up_told && pair.is_down_told;
        let parts = arrived.filter(|_| is_told).map(|latency| {
            causes::parts(latency, self.bases.of(intent.sender, recipient), message.up, pair.down)
        });
        self.rows.settled(self.began, message, recipient, pair, parts);
        if !message.is_recorded || !is_expected {
            return;
        }
        work.latencies.delivery.record(arrived);
        if let Some(submitted) = message.submitted {
            let service = arrived.map(|_| us_between(self.began, submitted, pair.at));
            work.latencies.service.record(service);
        }
        if let Some(latency) = arrived {
            self.scratch.push(latency);
            self.clients.delivered(recipient, self.bins.coarse(latency), intent.size);
        }
        if let Some(parts) = parts {
            self.causes.record(parts);
            let waiting = message.up.order.saturating_add(pair.down.order);
            work.latencies.waiting.record(Some(waiting.into()));
        }
        let arrived = arrived.map(|latency| (latency, pair.at));
        work.slowest.offer(self.began, Delivery { message, recipient, pair, arrived, troubles });
    }

    /// A message of a recorded phase.
    fn message(&mut self, message: &Message, sum: &Sum) {
        let intent = &message.intent;
        let work = &mut self.works[usize::from(intent.workload)];
        let counts = &mut work.messages;
        counts.intended += 1;
        counts.sent += u64::from(message.submitted.is_some());
        counts.throttled += u64::from(message.submitted.is_none());
        counts.acked += u64::from(message.acked.is_some());
        counts.failed += u64::from(message.failed);
        counts.expected_deliveries += sum.expected;
        counts.delivered += sum.delivered;
        counts.corrupted += sum.corrupted;
        counts.lost += sum.lost;
        work.cluster.settle(&mut self.scratch, sum.expected - sum.delivered);
        if sum.expected > 1 {
            let last = sum.last.filter(|_| sum.delivered == sum.expected);
            work.latencies.completion.record(last.map(|last| since_began(intent.intended, last)));
            if let (Some(first), Some(last)) = (sum.first, last) {
                work.latencies.skew.record(Some(since_began(first, last)));
            }
        }
        let Some(submitted) = message.submitted else {
            if !message.is_refused {
                // The generator never came to it: the latest of all.
                self.lag.record(None);
            }
            return;
        };
        self.clients.sent(intent.sender);
        if work.tells_acks && (message.acked.is_some() || !work.may_give_up) {
            work.latencies.ack_rtt.record(message.acked.map(|at| since_began(submitted, at)));
        }
    }
}

/// As the columns of rows are apart: of times in whole microseconds since the run began.
fn us_between(began: Timestamp, from: Timestamp, until: Timestamp) -> u64 {
    since_began(began, until).saturating_sub(since_began(began, from))
}

/// Rows of `deliveries.csv` that a run may keep in memory.
fn most_rows(scenario: &Scenario) -> usize {
    match scenario.measure.deliveries {
        Deliveries::None => 0,
        Deliveries::Rows(rows) => usize::try_from(rows).unwrap_or(usize::MAX),
        Deliveries::All => usize::MAX,
    }
}
