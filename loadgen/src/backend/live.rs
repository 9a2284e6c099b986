//! The real driver: sockets, threads, and the wall clock.
//!
//! The server and the emulator run in this process, each on threads of their own; every client is a task with a session
//! and a socket. The schedule is kept by one thread that does nothing else, because a timer wheel would hand messages
//! over late. Records stay with whoever observes until the end; nothing is shared while the run goes on but what is owed.

mod chat;
mod client;
mod hiccup;
mod kernel;
mod network;
mod owed;
mod quic;
mod seat;
mod stage;
mod tcp_relay;
mod ways;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use chat_core::trace::waits::Waited;
use tokio::sync::mpsc;
use units::{Clock, Timestamp};

use super::{Cast, JOIN_PATIENCE, RunError, RunPlan, RunRecord};
use crate::measure::{Recorded, Recorder};
use crate::record::Side;
use crate::scenario::{Scenario, Transport};
use crate::seen::Seen;
use crate::workload::{Intent, Workload};

use chat::Chat;
use client::{ClientLog, Order, Report};
use kernel::Kernel;
use owed::Owed;
use quic::Quic;
use seat::Heard;
use stage::{ServerWaits, Stage};

/// Runs `plan` on real sockets. `progress` hears the fraction done, a few times a second.
pub fn run(
    plan: &RunPlan,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(f64),
) -> Result<RunRecord, RunError> {
    let clock = Clock::start();
    let (reports, reported) = channel();
    let owed = Arc::new(Owed::default());
    let heard = Heard { reports: reports.clone(), owed: Arc::clone(&owed) };
    let mut stage: Box<dyn Stage> = match plan.scenario.transport {
        Transport::Udp | Transport::Tcp | Transport::Tls => Box::new(Chat::build(plan, clock)?),
        Transport::KernelTcp => Box::new(Kernel::build(plan, clock, heard)?),
        Transport::Quic => Box::new(Quic::build(plan, clock, heard)?),
    };
    let cast = Arc::new(Cast::new(&plan.scenario, stage.prefix().to_owned()));
    let crowd = stage.start_clients(plan, &cast, clock, &reports, &owed);
    drop(reports);
    let mut director = Director {
        clock,
        cast: &cast,
        interrupt,
        orders: crowd.orders,
        reported,
        owed,
        workload: Workload::new(&plan.scenario, plan.seed.fork("workload")),
        intents: Vec::new(),
        limit: Timestamp::ZERO + plan.scenario.run.time_limit,
        invalid: Vec::new(),
        failures: Vec::new(),
    };
    let hiccups = hiccup::Watch::start(clock);
    let outcome = director.direct(&mut *stage, plan, progress);
    let ended = clock.now();
    let hiccup = hiccups.stop();
    let Director { orders, intents, invalid, failures, .. } = director;
    for order in &orders {
        // A client that has ended already needs no order.
        let _ = order.try_send(Order::Stop);
    }
    drop(orders);
    let logs = stage.collect(crowd.tasks);
    let began = outcome?;
    let server = stage.finish();
    let mut failures: Vec<String> = failures.into_iter().chain(server.failures).collect();
    let mut traces = Vec::new();
    for (index, log) in (0..).zip(&logs) {
        traces.extend(log.traces.iter().map(|event| (index, Side::Client, *event)));
        failures.extend_from_slice(&log.problems);
    }
    let began = began.unwrap_or(ended);
    let mut record = RunRecord {
        began,
        ended,
        recorded: replay(&plan.scenario, &cast, (began, ended), &intents, &logs, server.waits),
        ends: logs.iter().map(|log| log.end).collect(),
        server: server.stats,
        traces,
        links: server.links,
        hiccup: Some(hiccup),
        harness_drops: server.harness_drops,
        invalid: invalid.into_iter().chain(server.invalid).collect(),
        failures,
    };
    for (user, event) in server.traces {
        let client = (0..cast.clients()).find(|&client| cast.user(client) == *user);
        record.traces.extend(client.map(|client| (client, Side::Server, event)));
    }
    Ok(record)
}

/// Tells a recorder what everyone saw, in the order of time.
fn replay(
    scenario: &Scenario,
    cast: &Arc<Cast>,
    (began, ended): (Timestamp, Timestamp),
    intents: &[Intent],
    logs: &[ClientLog],
    server: ServerWaits,
) -> Recorded {
    let (pieces, told) = match server {
        ServerWaits::Told { pieces, forgotten } => (pieces, Ok(forgotten)),
        ServerWaits::Untold(why) => (Vec::new(), Err(why)),
    };
    let mut recorder = Recorder::new(scenario, Arc::clone(cast), told.map(|_| ()));
    recorder.begin(began);
    let forgotten: u64 = logs.iter().map(|log| log.waits_forgotten).sum();
    recorder.on_waits_forgotten(forgotten + told.unwrap_or(0));
    let mut seen: Vec<(Timestamp, Seen)> = Vec::new();
    let mut taken = vec![false; intents.len()];
    for (client, log) in (0..).zip(logs) {
        seen.push((log.started, Seen::Connecting { client, at: log.started }));
        seen.extend(log.connected.map(|at| (at, Seen::Connected { client, at, is_resumed: false })));
        for &(message, at) in &log.submitted {
            taken[message as usize] = true;
            seen.push((at, Seen::Submitted { message, at }));
        }
    }
    let refused = intents.iter().filter(|intent| !taken[intent.id as usize]);
    seen.extend(refused.map(|intent| (intent.intended, Seen::Refused { message: intent.id })));
    for log in logs {
        seen.extend(log.acked.iter().map(|&(message, at)| (at, Seen::Acked { message, at })));
        seen.extend(log.failed.iter().map(|&(message, at)| (at, Seen::Failed { message, at })));
        seen.extend(log.arrivals.iter().map(|&arrival| (arrival.at, Seen::Arrived(arrival))));
    }
    // Stable, so that what one client saw keeps its order, and a message is submitted before it arrives.
    seen.sort_by_key(|(at, _)| *at);
    let waits = Told::sorted(cast, logs, &pieces);
    let mut intents = intents.iter().peekable();
    for (at, seen) in seen {
        while let Some(intent) = intents.next_if(|intent| intent.intended <= at) {
            recorder.on(Seen::Intent(*intent));
        }
        recorder.on(seen);
        if let Seen::Submitted { message, .. } = seen {
            waits.tell(message, &mut recorder);
        }
    }
    intents.for_each(|intent| recorder.on(Seen::Intent(*intent)));
    recorder.tick(ended, None);
    recorder.finish(scenario, ended)
}

/// What both ends of each connection told of waits, by the message of the schedule.
#[derive(Default)]
struct Told<'a> {
    numbers: BTreeMap<u32, u64>,
    clients: BTreeMap<u32, Vec<(u32, &'a Waited)>>,
    server: BTreeMap<u32, Vec<(Option<u32>, &'a Waited)>>,
}

impl<'a> Told<'a> {
    fn sorted(cast: &Cast, logs: &'a [ClientLog], pieces: &'a [Vec<(Arc<str>, Waited)>]) -> Self {
        let mut told = Self::default();
        let mut names: BTreeMap<String, u32> = BTreeMap::new();
        for (index, log) in (0..).zip(logs) {
            for &(number, message) in &log.numbers {
                told.numbers.insert(message, number.0);
                names.insert(format!("{}-{}", cast.user(index), number.0), message);
            }
        }
        for (index, log) in (0..).zip(logs) {
            for waited in &log.waits {
                if let Some(&message) = names.get(waited.msg_id.as_str()) {
                    told.clients.entry(message).or_default().push((index, waited));
                }
            }
        }
        let users: BTreeMap<String, u32> =
            (0..cast.clients()).map(|client| (cast.user(client), client)).collect();
        for (user, waited) in pieces.iter().flatten() {
            if let Some(&message) = names.get(waited.msg_id.as_str()) {
                let user = users.get(&**user).copied();
                told.server.entry(message).or_default().push((user, waited));
            }
        }
        told
    }

    fn tell(&self, message: u32, recorder: &mut Recorder) {
        if let Some(&number) = self.numbers.get(&message) {
            recorder.on_named(message, number);
        }
        for (client, waited) in self.clients.get(&message).into_iter().flatten() {
            recorder.on_client_wait(*client, waited);
        }
        for (client, waited) in self.server.get(&message).into_iter().flatten() {
            recorder.on_server_wait(*client, waited);
        }
    }
}

/// Keeps the schedule and decides when it is over. Runs on the calling thread.
struct Director<'a> {
    clock: Clock,
    cast: &'a Cast,
    interrupt: &'a AtomicBool,
    orders: Vec<mpsc::Sender<Order>>,
    reported: Receiver<Report>,
    owed: Arc<Owed>,
    workload: Workload,
    intents: Vec<Intent>,
    limit: Timestamp,
    invalid: Vec<String>,
    failures: Vec<String>,
}

impl Director<'_> {
    /// Waits until everyone has joined, runs the schedule, waits until everything has settled. Returns when the first
    /// phase began, `None` if it never did.
    fn direct(
        &mut self,
        stage: &mut dyn Stage,
        plan: &RunPlan,
        progress: &mut dyn FnMut(f64),
    ) -> Result<Option<Timestamp>, RunError> {
        let ramp = plan.scenario.longest_ramp();
        if !self.wait_for_all(stage, ramp)? {
            return Ok(None);
        }
        let began = self.clock.now();
        stage.begin_blackouts(plan, began);
        self.workload.start(began);
        let planned = self.workload.load_ends().since(began).as_secs_f64().max(1e-9);
        let mut next_report = began;
        loop {
            let now = self.clock.now();
            while let Some(intent) = self.workload.poll_intent(now) {
                self.give(intent);
            }
            if now >= self.workload.drain_ends() || now >= self.workload.load_ends() && self.owed.is_settled()
            {
                return Ok(Some(began));
            }
            if now >= self.limit {
                self.invalid.push(format!("time limit of {:?} reached", plan.scenario.run.time_limit));
                return Ok(Some(began));
            }
            if self.interrupt.load(Ordering::Relaxed) {
                self.invalid.push(super::interrupted(now.since(began)));
                return Ok(Some(began));
            }
            if now >= next_report {
                progress((now.since(began).as_secs_f64() / planned).min(1.0));
                next_report = now + LOOK_AROUND;
                stage.check_server()?;
            }
            self.wait(self.workload.poll_timeout().map_or(LOOK_AROUND, |at| at.since(now)));
        }
    }

    /// Waits for reports until the next message is due.
    fn wait(&mut self, span: Duration) {
        match self.reported.recv_timeout(span.min(LOOK_AROUND)) {
            Ok(report) => self.take(report),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        while let Ok(report) = self.reported.try_recv() {
            self.take(report);
        }
    }

    fn take(&mut self, report: Report) {
        if let Report::Settled(id) = report {
            self.workload.on_settled(self.clock.now(), id);
        }
    }

    /// Hands a message to its sender. A task with thousands of orders waiting has not run: the generator's fault.
    fn give(&mut self, intent: Intent) {
        self.intents.push(intent);
        self.owed.on_intent(self.cast.recipients(&intent).count());
        if self.orders[intent.sender as usize].try_send(Order::Send(intent)).is_err() {
            if self.invalid.is_empty() {
                self.invalid
                    .push(format!("the task of client {} did not run; free the machine", intent.sender));
            }
            self.owed.on_refused(self.cast.recipients(&intent).count());
            self.workload.on_settled(self.clock.now(), intent.id);
        }
    }

    fn wait_for_all(&mut self, stage: &mut dyn Stage, ramp: Duration) -> Result<bool, RunError> {
        let mut joined = 0;
        let total = self.orders.len();
        let patience = self.clock.now() + ramp + JOIN_PATIENCE;
        while joined < total {
            match self.reported.recv_timeout(LOOK_AROUND) {
                Ok(Report::Joined) => joined += 1,
                Ok(Report::Settled(_)) => {}
                Err(RecvTimeoutError::Timeout) => stage.check_server()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.interrupt.load(Ordering::Relaxed) {
                self.invalid.push(super::interrupted(Duration::ZERO));
                return Ok(false);
            }
            if self.clock.now() > self.limit.min(patience) {
                break;
            }
        }
        if joined < total {
            self.failures.push(format!("only {joined} of {total} clients got into their rooms"));
        }
        Ok(joined == total)
    }
}

/// How often progress, signals and the server are looked at.
const LOOK_AROUND: Duration = Duration::from_millis(200);
