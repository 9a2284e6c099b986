//! The real driver: sockets, threads, and the wall clock.
//!
//! The server and the emulator run in this process, each on threads of their own; every client is a task with a session
//! and a socket. The schedule is kept by one thread that does nothing else, because a timer wheel would hand messages
//! over late. What anybody sees goes through `ears` to a recorder on a thread of its own.

mod admin;
mod chat;
mod client;
mod descriptors;
mod ears;
mod hiccup;
mod kernel;
mod network;
mod pacing;
mod processors;
mod quic;
mod reports;
mod seat;
mod spawned;
mod stage;
mod tcp_relay;
mod ways;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tokio::sync::mpsc;
use units::{Clock, Timestamp};

use super::{Cast, Heeded, JOIN_PATIENCE, Latest, Progress, RunError, RunPlan, RunRecord, Traces};
use crate::measure::Recorder;
use crate::record::Side;
use crate::scenario::Transport;
use crate::workload::Workload;

use chat::Chat;
use client::Order;
use ears::{Ears, Listening};
use kernel::Kernel;
use pacing::{Pacing, Running};
use processors::{Reading, Usage};
use quic::Quic;
use reports::Reports;
use seat::Heard;
use stage::Stage;

/// Runs `plan` on real sockets. `progress` hears how far it is, a few times a second.
pub fn run(
    plan: &RunPlan,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(Progress) -> Heeded,
) -> Result<RunRecord, RunError> {
    descriptors::make_room(plan)?;
    let clock = Clock::start();
    let pacing = Pacing::new(&plan.scenario, clock)?;
    let (joined, joins) = channel();
    let reports = Reports::new(joined, pacing.told());
    let ears = Arc::new(Ears::new());
    let heard = Heard { reports: reports.clone(), ears: Arc::clone(&ears) };
    let mut stage: Box<dyn Stage> = match plan.scenario.transport {
        Transport::Udp | Transport::Tcp | Transport::Tls => Box::new(Chat::build(plan, clock)?),
        Transport::KernelTcp => Box::new(Kernel::build(plan, clock, heard)?),
        Transport::Quic => Box::new(Quic::build(plan, clock, heard)?),
    };
    let cast = Arc::new(Cast::new(&plan.scenario, stage.prefix().to_owned()));
    let recorder = Recorder::new(&plan.scenario, Arc::clone(&cast), stage.tells_waits());
    let listening = Listening::start(Arc::clone(&ears), recorder, Latest::new(&plan.scenario), &cast, clock);
    let crowd = stage.start_clients(plan, &cast, clock, &reports, &ears);
    drop(reports);
    let hiccups = hiccup::Watch::start(clock)
        .map_err(|error| RunError::Internal(format!("cannot watch for hiccups: {error}")))?;
    let mut director = Director {
        clock,
        interrupt,
        hiccups,
        at_load_end: None,
        orders: crowd.orders,
        joins,
        ears: Arc::clone(&ears),
        limit: Timestamp::ZERO + plan.scenario.run.time_limit,
        invalid: Vec::new(),
        failures: Vec::new(),
    };
    let outcome = director.direct(&mut *stage, plan, pacing, progress);
    let ended = clock.now();
    let Director { orders, mut invalid, failures, hiccups, .. } = director;
    let hiccups = hiccups.stop();
    for order in &orders {
        // A client that has ended already needs no order.
        let _ = order.try_send(Order::Stop);
    }
    drop(orders);
    let logs = stage.collect(crowd.tasks);
    let Directed { began, usage } = outcome?;
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
    let mut traces = Traces::default();
    for log in &logs {
        traces.append(&log.traces);
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
        hiccup: Some(Duration::from_micros(hiccups.max())),
        hiccups_us: Some(hiccups),
        cpu_s: usage.cpu_s,
        orphans: None,
        harness_drops: server.harness_drops + logs.iter().map(|log| log.kernel_drops).sum::<u64>(),
        invalid: invalid.into_iter().chain(server.invalid).collect(),
        failures,
    };
    for (user, event) in server.traces {
        let client = (0..cast.clients()).find(|&client| cast.user(client) == *user);
        if let Some(client) = client {
            record.traces.push(client, Side::Server, event);
        }
    }
    Ok(record)
}

/// Decides when the schedule begins and when it is over. Runs on the calling thread.
struct Director<'a> {
    clock: Clock,
    interrupt: &'a AtomicBool,
    orders: Vec<mpsc::Sender<Order>>,
    joins: Receiver<()>,
    ears: Arc<Ears>,
    hiccups: hiccup::Watch,
    /// What was used when the schedule ended; a drain is idle.
    at_load_end: Option<Reading>,
    limit: Timestamp,
    invalid: Vec<String>,
    failures: Vec<String>,
}

/// What came of the schedule.
#[derive(Default)]
struct Directed {
    /// When the first phase began; `None` if it never did.
    began: Option<Timestamp>,
    /// From then to the end of the schedule.
    usage: Usage,
}

/// When a schedule begins and ends.
struct Times {
    began: Timestamp,
    load_ends: Timestamp,
    drain_ends: Timestamp,
}

impl Director<'_> {
    /// Waits until everyone has joined, has the schedule kept, waits until everything has settled.
    fn direct(
        &mut self,
        stage: &mut dyn Stage,
        plan: &RunPlan,
        pacing: Pacing,
        progress: &mut dyn FnMut(Progress) -> Heeded,
    ) -> Result<Directed, RunError> {
        let ramp = plan.scenario.longest_ramp();
        if !self.wait_for_all(stage, ramp)? {
            return Ok(Directed::default());
        }
        let mut workload = Workload::new(&plan.scenario, plan.seed.fork("workload"));
        let began = self.clock.now();
        stage.begin_blackouts(plan, began);
        self.hiccups.begin();
        self.ears.begin(began);
        self.sample(stage, began);
        workload.start(began);
        let times = Times { began, load_ends: workload.load_ends(), drain_ends: workload.drain_ends() };
        let before = Reading::take(&stage.processes());
        let running = pacing.start(workload, self.orders.clone(), Arc::clone(&self.ears))?;
        let outcome = self.watch(stage, plan, &times, &running, progress);
        self.sample(stage, self.clock.now());
        let after = self.at_load_end.take().unwrap_or_else(|| Reading::take(&stage.processes()));
        let usage = after.since(&before);
        self.invalid.extend(usage.problem());
        self.invalid.extend(running.stop()?);
        outcome.map(|()| Directed { began: Some(began), usage })
    }

    /// Looks around until the run is over.
    fn watch(
        &mut self,
        stage: &mut dyn Stage,
        plan: &RunPlan,
        times: &Times,
        running: &Running,
        progress: &mut dyn FnMut(Progress) -> Heeded,
    ) -> Result<(), RunError> {
        let began = times.began;
        let planned = times.load_ends.since(began).as_secs_f64().max(1e-9);
        let mut next_report = began;
        let between = plan.scenario.measure.interval.max(LOOK_AROUND);
        let mut next_sample = began + between;
        loop {
            let now = self.clock.now();
            if now >= next_sample {
                self.sample(stage, next_sample);
                next_sample += between;
            }
            if now >= times.load_ends && self.at_load_end.is_none() {
                self.at_load_end = Some(Reading::take(&stage.processes()));
            }
            let is_settled = running.given().is_some_and(|given| self.ears.is_settled(given));
            if now >= times.drain_ends || is_settled {
                return Ok(());
            }
            if now >= self.limit {
                self.invalid.push(format!("time limit of {:?} reached", plan.scenario.run.time_limit));
                return Ok(());
            }
            if self.interrupt.load(Ordering::Relaxed) {
                self.invalid.push(super::interrupted(now.since(began)));
                return Ok(());
            }
            if now >= next_report {
                let _ = progress(Progress::Fraction((now.since(began).as_secs_f64() / planned).min(1.0)));
                let told = self.ears.moment().map(|moment| progress(Progress::Interval(Box::new(moment))));
                if let Some(ControlFlow::Break(reason)) = told {
                    self.failures.push(reason);
                    return Ok(());
                }
                next_report = now + LOOK_AROUND;
                stage.check_server()?;
                self.ears.server_waited(stage.drain_waits());
            }
            let settling = if now < times.load_ends { times.load_ends } else { now + SETTLING };
            std::thread::park_timeout(next_report.min(settling).min(next_sample).since(now));
        }
    }

    /// Tells the recorder what only drivers count, as of the end of an interval.
    fn sample(&self, stage: &dyn Stage, at: Timestamp) {
        let mut sample = stage.sample();
        sample.retransmits += self.ears.repeats();
        sample.cpu = Some(processors::own());
        sample.hiccup = Some(self.hiccups.longest());
        self.ears.sample(at, sample);
    }

    fn wait_for_all(&mut self, stage: &mut dyn Stage, ramp: Duration) -> Result<bool, RunError> {
        let mut joined = 0;
        let total = self.orders.len();
        let patience = self.clock.now() + ramp + JOIN_PATIENCE;
        while joined < total {
            match self.joins.recv_timeout(LOOK_AROUND) {
                Ok(()) => joined += 1,
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
/// How often it is asked whether everything has settled, once the schedule is over.
const SETTLING: Duration = Duration::from_millis(20);
