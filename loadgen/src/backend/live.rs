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

use tokio::sync::mpsc;
use units::{Clock, Timestamp};

use super::ledger::Ledger;
use super::waits::{NotTold, Waits};
use super::{Cast, JOIN_PATIENCE, RunError, RunPlan, RunRecord};
use crate::distribution;
use crate::record::Side;
use crate::scenario::Transport;
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
    let mut record = RunRecord {
        began: began.unwrap_or(ended),
        ended,
        messages: Vec::new(),
        arrivals: Vec::new(),
        connects: logs.iter().filter_map(|log| Some(log.connected?.since(log.started))).collect(),
        ends: logs.iter().map(|log| log.end).collect(),
        server: server.stats,
        traces: Vec::new(),
        waits: waits(&cast, &logs, server.waits),
        links: server.links,
        lag_us: distribution::empty(),
        hiccup: Some(hiccup),
        harness_drops: server.harness_drops,
        invalid: invalid.into_iter().chain(server.invalid).collect(),
        failures: failures.into_iter().chain(server.failures).collect(),
    };
    merge(&mut record, &cast, &intents, logs);
    for (user, event) in server.traces {
        let client = (0..cast.clients()).find(|&client| cast.user(client) == *user);
        record.traces.extend(client.map(|client| (client, Side::Server, event)));
    }
    Ok(record)
}

/// Puts together what both ends of each connection say of waits.
fn waits(cast: &Cast, logs: &[ClientLog], server: ServerWaits) -> Result<Waits, NotTold> {
    let (pieces, forgotten) = match server {
        ServerWaits::Told { pieces, forgotten } => (pieces, forgotten),
        ServerWaits::Untold(why) => return Err(why),
    };
    let mut waits = Waits::default();
    waits.on_forgotten(forgotten);
    for (index, log) in (0..).zip(logs) {
        waits.on_forgotten(log.waits_forgotten);
        log.numbers.iter().for_each(|&(number, message)| waits.on_submitted(index, number, message));
    }
    for (index, log) in (0..).zip(logs) {
        log.waits.iter().for_each(|waited| waits.on_client(index, waited));
    }
    let clients: BTreeMap<String, u32> =
        (0..cast.clients()).map(|client| (cast.user(client), client)).collect();
    for (user, waited) in pieces.iter().flatten() {
        waits.on_server(clients.get(&**user).copied(), waited);
    }
    Ok(waits)
}

/// Puts together what each client saw: submissions and ends by message id, arrivals by time.
fn merge(record: &mut RunRecord, cast: &Cast, intents: &[Intent], logs: Vec<ClientLog>) {
    let mut submitted = vec![None; intents.len()];
    let mut ledger = Ledger::default();
    for log in &logs {
        for &(id, at) in &log.submitted {
            submitted[id as usize] = Some(at);
        }
    }
    for (intent, at) in intents.iter().zip(&submitted) {
        ledger.on_intent(cast, *intent, *at);
        if let Some(at) = at {
            let lag = u64::try_from(at.since(intent.intended).as_micros()).unwrap_or(u64::MAX);
            record.lag_us.saturating_record(lag);
        }
    }
    let mut arrivals = Vec::new();
    for (index, log) in (0..).zip(logs) {
        log.acked.iter().for_each(|&(id, at)| ledger.on_acked(at, id));
        log.failed.iter().for_each(|&id| ledger.on_failed(id));
        arrivals.extend(log.arrivals);
        record.traces.extend(log.traces.into_iter().map(|event| (index, Side::Client, event)));
        record.failures.extend(log.problems);
    }
    // Stable, so that arrivals of one client keep their order.
    arrivals.sort_by_key(|arrival| arrival.at);
    record.arrivals = arrivals;
    record.messages = ledger.messages;
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
