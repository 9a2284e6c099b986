//! The real driver: sockets, threads, and the wall clock.
//!
//! The server and the emulator run in this process, each on threads of their own; every client is a task with a session
//! and a socket. The schedule is kept by one thread that does nothing else, because a timer wheel would hand messages
//! over late. What anybody sees goes through `ears` to a recorder on a thread of its own.

mod chat;
mod client;
mod ears;
mod hiccup;
mod kernel;
mod network;
mod quic;
mod seat;
mod stage;
mod tcp_relay;
mod ways;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tokio::sync::mpsc;
use units::{Clock, Timestamp};

use super::{Cast, JOIN_PATIENCE, Progress, RunError, RunPlan, RunRecord};
use crate::measure::Recorder;
use crate::record::Side;
use crate::scenario::Transport;
use crate::seen::Seen;
use crate::workload::{Intent, Step, Workload};

use chat::Chat;
use client::{Order, Report};
use ears::{Ears, Listening};
use kernel::Kernel;
use quic::Quic;
use seat::Heard;
use stage::Stage;

/// Runs `plan` on real sockets. `progress` hears how far it is, a few times a second.
pub fn run(
    plan: &RunPlan,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunRecord, RunError> {
    let clock = Clock::start();
    let (reports, reported) = channel();
    let ears = Arc::new(Ears::new());
    let heard = Heard { reports: reports.clone(), ears: Arc::clone(&ears) };
    let mut stage: Box<dyn Stage> = match plan.scenario.transport {
        Transport::Udp | Transport::Tcp | Transport::Tls => Box::new(Chat::build(plan, clock)?),
        Transport::KernelTcp => Box::new(Kernel::build(plan, clock, heard)?),
        Transport::Quic => Box::new(Quic::build(plan, clock, heard)?),
    };
    let cast = Arc::new(Cast::new(&plan.scenario, stage.prefix().to_owned()));
    let recorder = Recorder::new(&plan.scenario, Arc::clone(&cast), stage.tells_waits());
    let listening = Listening::start(Arc::clone(&ears), recorder, &cast, clock);
    let crowd = stage.start_clients(plan, &cast, clock, &reports, &ears);
    drop(reports);
    let mut director = Director {
        clock,
        interrupt,
        orders: crowd.orders,
        reported,
        ears: Arc::clone(&ears),
        workload: Workload::new(&plan.scenario, plan.seed.fork("workload")),
        given: 0,
        limit: Timestamp::ZERO + plan.scenario.run.time_limit,
        invalid: Vec::new(),
        failures: Vec::new(),
    };
    let hiccups = hiccup::Watch::start(clock);
    let outcome = director.direct(&mut *stage, plan, progress);
    let ended = clock.now();
    let hiccup = hiccups.stop();
    let Director { orders, mut invalid, failures, .. } = director;
    for order in &orders {
        // A client that has ended already needs no order.
        let _ = order.try_send(Order::Stop);
    }
    drop(orders);
    let logs = stage.collect(crowd.tasks);
    let began = outcome?;
    let server = stage.finish();
    ears.server_waited(server.waits);
    let Some(mut recorder) = listening.stop() else {
        return Err(RunError::Internal("the recorder has failed".to_owned()));
    };
    recorder.on_waits_forgotten(server.waits_forgotten);
    recorder.on_waits_forgotten(logs.iter().map(|log| log.waits_forgotten).sum());
    recorder.tick(ended, None);
    let left_out = ears.left_out();
    if left_out > 0 {
        invalid
            .push(format!("the recorder was not fast enough and missed {left_out} events; lower the rate"));
    }
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
        recorded: recorder.finish(&plan.scenario, ended),
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

/// Keeps the schedule and decides when it is over. Runs on the calling thread.
struct Director<'a> {
    clock: Clock,
    interrupt: &'a AtomicBool,
    orders: Vec<mpsc::Sender<Order>>,
    reported: Receiver<Report>,
    ears: Arc<Ears>,
    workload: Workload,
    /// Messages of the schedule so far.
    given: u64,
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
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Timestamp>, RunError> {
        let ramp = plan.scenario.longest_ramp();
        if !self.wait_for_all(stage, ramp)? {
            return Ok(None);
        }
        let began = self.clock.now();
        stage.begin_blackouts(plan, began);
        self.ears.begin(began);
        self.workload.start(began);
        let planned = self.workload.load_ends().since(began).as_secs_f64().max(1e-9);
        let mut next_report = began;
        loop {
            let now = self.clock.now();
            while let Some(step) = self.workload.poll_step(now) {
                self.carry_out(step);
            }
            if now >= self.workload.drain_ends()
                || now >= self.workload.load_ends() && self.ears.is_settled(self.given)
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
                progress(Progress::Fraction((now.since(began).as_secs_f64() / planned).min(1.0)));
                self.ears.moment().into_iter().for_each(|moment| progress(Progress::Interval(moment)));
                next_report = now + LOOK_AROUND;
                stage.check_server()?;
                self.ears.server_waited(stage.drain_waits());
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
        let now = self.clock.now();
        match report {
            Report::Settled(id) => self.workload.on_settled(now, id),
            Report::Gone(client) => self.workload.on_gone(now, client),
            Report::Present(client) => self.workload.on_present(now, client),
            Report::Joined => {}
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Send(intent) => self.give(intent),
            Step::Throttle(intent) => {
                self.given += 1;
                self.ears.intend(intent);
                self.ears.tell(intent.sender, Seen::Refused { message: intent.id });
            }
            Step::Leave { client, is_abrupt } => self.order(client, Order::Leave { is_abrupt }),
            Step::Return { client } => self.order(client, Order::Return),
        }
    }

    fn order(&mut self, client: u32, order: Order) {
        if self.orders[client as usize].try_send(order).is_err() {
            self.is_stuck(client);
        }
    }

    /// A task that takes no orders does not run.
    fn is_stuck(&mut self, client: u32) {
        if self.invalid.is_empty() {
            self.invalid.push(format!("the task of client {client} did not run; free the machine"));
        }
    }

    /// Hands a message to its sender. A task with thousands of orders waiting has not run: the generator's fault.
    fn give(&mut self, intent: Intent) {
        self.given += 1;
        self.ears.intend(intent);
        if self.orders[intent.sender as usize].try_send(Order::Send(intent)).is_err() {
            self.is_stuck(intent.sender);
            self.ears.tell(intent.sender, Seen::Refused { message: intent.id });
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
                Ok(Report::Settled(_) | Report::Gone(_) | Report::Present(_)) => {}
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
