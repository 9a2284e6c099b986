//! QUIC in virtual time: the loop of [`sim`](crate::backend::sim), with quinn's machines in the place of ours.
//!
//! The links, the schedule and the ledger are the same, with the same seeds, so two runs differ by their transport alone
//! and two runs of one seed by nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat_core::path::Ecn;
use netem_proxy::proxy::corrupted;
use units::{ByteCount, Clock, Timestamp};

use super::quic::{Event, QuicEnd};
use super::record::Record;
use super::relay::{Output, PeerId, Relay};
use crate::backend::sim::links::{
    Direction, Parcel, SimLink, begin_blackouts, lay_links, named_links, sample,
};
use crate::backend::waits::NotTold;
use crate::backend::{
    Cast, Heeded, JOIN_PATIENCE, Latest, Progress, RunError, RunPlan, RunRecord, Traces, arrival, interrupted,
};
use crate::measure::{Recorder, Sample};
use crate::seen::Seen;
use crate::workload::{self, Intent, Step, Workload};

/// Runs `plan` over QUIC in virtual time. `progress` hears how far it is, about once for each virtual second.
pub(in crate::backend) fn run(
    plan: &RunPlan,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(Progress) -> Heeded,
) -> Result<RunRecord, RunError> {
    let mut world = World::new(plan);
    world.begin();
    world.run(interrupt, progress)?;
    Ok(world.into_record())
}

struct World<'a> {
    plan: &'a RunPlan,
    now: Timestamp,
    server: QuicEnd,
    relay: Relay,
    clients: Vec<Client>,
    links: Vec<SimLink>,
    workload: Workload,
    began: Option<Timestamp>,
    recorder: Recorder,
    heap: BinaryHeap<Reverse<(Timestamp, u64, Wake)>>,
    entries: u64,
    clients_of: BTreeMap<SocketAddr, usize>,
    server_wake: Option<Timestamp>,
    workload_wake: Option<Timestamp>,
    joined: usize,
    /// When an interval ends next.
    next_tick: Timestamp,
    invalid: Vec<String>,
    failures: Vec<String>,
}

struct Client {
    end: QuicEnd,
    address: SocketAddr,
    peer: Option<PeerId>,
    /// Indices of its links, up and down; `None`: directly connected.
    links: Option<(usize, usize)>,
    wake: Option<Timestamp>,
    is_welcome: bool,
}

/// Who wants to be woken. Entries that no longer match the deadline they were made for are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Start(usize),
    Server,
    Client(usize),
    Link(usize),
    Workload,
}

impl<'a> World<'a> {
    fn new(plan: &'a RunPlan) -> Self {
        let cast = Arc::new(Cast::new(&plan.scenario, String::new()));
        let (links, of_client) = lay_links(plan);
        // Only differences of its instants count, so the moment at which it starts does not matter.
        let clock = Clock::start();
        let end = |name: &str, accepts| {
            QuicEnd::new(&plan.scenario.baseline, &plan.seed.fork(name), clock, accepts)
        };
        let clients: Vec<Client> = (0..cast.clients())
            .map(|index| Client {
                end: end(&format!("session/{index}"), false),
                address: address(index),
                peer: None,
                links: of_client[index as usize],
                wake: None,
                is_welcome: false,
            })
            .collect();
        Self {
            server: end("server", true),
            relay: Relay::new(Arc::clone(&cast)),
            clients_of: clients.iter().enumerate().map(|(index, client)| (client.address, index)).collect(),
            clients,
            links,
            workload: Workload::new(&plan.scenario, plan.seed.fork("workload")),
            recorder: Recorder::new(&plan.scenario, cast, Err(NotTold::Baseline)),
            plan,
            now: Timestamp::ZERO,
            began: None,
            heap: BinaryHeap::new(),
            entries: 0,
            server_wake: None,
            workload_wake: None,
            joined: 0,
            next_tick: Timestamp::NEVER,
            invalid: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Enters the start of every client, spread over the ramp of its group.
    fn begin(&mut self) {
        let mut index = 0;
        for group in &self.plan.scenario.clients {
            for place in 0..group.count {
                self.enter(Timestamp::ZERO + group.start(place, &self.plan.seed), Wake::Start(index));
                index += 1;
            }
        }
    }

    fn run(
        &mut self,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(Progress) -> Heeded,
    ) -> Result<(), RunError> {
        let limit = Timestamp::ZERO + self.plan.scenario.run.time_limit;
        let ramp = self.plan.scenario.longest_ramp();
        let mut next_report = Timestamp::ZERO;
        let mut latest = Latest::new(&self.plan.scenario);
        loop {
            // 1. Wait: jump to the earliest deadline.
            let Some(Reverse((at, _, wake))) = self.heap.pop() else {
                return Err(RunError::Internal(format!(
                    "the simulation stalled at {} with nothing to do",
                    self.now
                )));
            };
            if at > limit {
                self.invalid.push(format!("time limit of {:?} reached", self.plan.scenario.run.time_limit));
                return Ok(());
            }
            self.now = self.now.max(at);
            if self.began.is_none() && self.now > Timestamp::ZERO + ramp + JOIN_PATIENCE {
                return Ok(());
            }
            if self.now >= next_report {
                if interrupt.load(Ordering::Relaxed) {
                    let measured = self.began.map_or(Duration::ZERO, |began| self.now.since(began));
                    self.invalid.push(interrupted(measured));
                    return Ok(());
                }
                let _ = progress(Progress::Fraction(self.fraction_done()));
                next_report = self.now + Duration::from_secs(1);
            }
            while self.now >= self.next_tick {
                self.tick(self.next_tick);
                self.next_tick += self.recorder.interval();
                let moment = self.began.and_then(|began| latest.of(&self.recorder, began, self.now));
                let told = moment.map(|moment| progress(Progress::Interval(Box::new(moment))));
                if let Some(ControlFlow::Break(reason)) = told {
                    self.failures.push(reason);
                    return Ok(());
                }
            }
            // 2.–5. Feed one input, drain, act on the outputs, note the next deadline.
            self.feed(at, wake);
            if self.is_over() {
                let _ = progress(Progress::Fraction(1.0));
                return Ok(());
            }
        }
    }

    fn feed(&mut self, at: Timestamp, wake: Wake) {
        let now = self.now;
        match wake {
            Wake::Start(index) => {
                self.recorder.on(Seen::Connecting { client: index as u32, at: now });
                let client = &mut self.clients[index];
                let peer = client.end.connect(now, SERVER.into());
                client.peer = Some(peer);
                let join = Record::Join { client: index as u32 }.encode();
                client.end.send(now, peer, join).expect("a new connection has room");
                self.settle_client(index);
            }
            Wake::Client(index) if self.clients[index].wake == Some(at) => {
                self.clients[index].wake = None;
                self.clients[index].end.handle_timeout(now);
                self.settle_client(index);
            }
            Wake::Server if self.server_wake == Some(at) => {
                self.server_wake = None;
                self.server.handle_timeout(now);
                self.settle_server();
            }
            Wake::Link(index) if self.links[index].wake == Some(at) => {
                self.links[index].wake = None;
                self.deliver(index);
            }
            Wake::Workload if self.workload_wake == Some(at) => {
                self.workload_wake = None;
                while let Some(step) = self.workload.poll_step(now) {
                    self.carry_out(step);
                }
                self.schedule_workload();
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Send(intent) => self.send(intent),
            Step::Throttle(intent) => {
                self.recorder.on(Seen::Intent(intent));
                self.recorder.on(Seen::Refused { message: intent.id });
            }
            Step::Leave { .. } | Step::Return { .. } => unreachable!("refused before the run"),
        }
    }

    fn send(&mut self, intent: Intent) {
        let now = self.now;
        let index = intent.sender as usize;
        let text = workload::text(intent.id, intent.size).into();
        let record = Record::Say { target: intent.target, text }.encode();
        let client = &mut self.clients[index];
        let taken = client.peer.is_some_and(|peer| client.end.send(now, peer, record).is_ok());
        self.recorder.on(Seen::Intent(intent));
        if taken {
            self.recorder.on(Seen::Submitted { message: intent.id, at: now });
        } else {
            self.recorder.on(Seen::Refused { message: intent.id });
            self.workload.on_settled(now, intent.id);
        }
        self.settle_client(index);
    }

    fn settle_client(&mut self, index: usize) {
        let now = self.now;
        while let Some(event) = self.clients[index].end.poll_event() {
            match event {
                Event::Record { record: Record::Welcome, .. } => self.welcome(index),
                Event::Record { record: Record::Heard { text }, .. } => {
                    let text = String::from_utf8_lossy(&text);
                    self.recorder.on(Seen::Arrived(arrival(index as u32, now, &text)));
                }
                Event::Lost { reason, .. } => {
                    self.clients[index].peer = None;
                    self.failures.push(format!("client {index} lost its connection: {reason}"));
                }
                Event::Connected(_) | Event::Record { .. } => {}
            }
        }
        while let Some((_, bytes)) = self.clients[index].end.poll_transmit() {
            match self.clients[index].links {
                Some((up, _)) => self.offer(up, index, bytes),
                None => self.arrive_at_server(index, &bytes),
            }
        }
        let deadline = self.clients[index].end.poll_timeout();
        if self.clients[index].wake != deadline {
            self.clients[index].wake = deadline;
            if let Some(at) = deadline {
                self.enter(at, Wake::Client(index));
            }
        }
    }

    fn welcome(&mut self, index: usize) {
        if !std::mem::replace(&mut self.clients[index].is_welcome, true) {
            self.joined += 1;
            let seen = Seen::Connected { client: index as u32, at: self.now, is_resumed: false };
            self.recorder.on(seen);
        }
        if self.joined == self.clients.len() && self.began.is_none() {
            self.began = Some(self.now);
            self.recorder.begin(self.now);
            self.next_tick = self.now;
            begin_blackouts(&mut self.links, self.now);
            self.workload.start(self.now);
            self.schedule_workload();
        }
    }

    fn settle_server(&mut self) {
        let now = self.now;
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Record { peer, record } => self.relay.handle_record(peer, record),
                Event::Lost { peer, .. } => self.relay.disconnect(peer),
                Event::Connected(_) => {}
            }
            while let Some(output) = self.relay.poll_output() {
                match output {
                    Output::Transmit { peer, bytes } => {
                        if self.server.send(now, peer, bytes).is_err() {
                            self.failures.push(format!("the relay had no room for peer {peer}"));
                        }
                    }
                    Output::Received { message } => {
                        self.recorder.on(Seen::Received { message });
                        self.workload.on_settled(now, message);
                        self.schedule_workload();
                    }
                }
            }
        }
        while let Some((to, bytes)) = self.server.poll_transmit() {
            let Some(&index) = self.clients_of.get(&to) else { continue };
            match self.clients[index].links {
                Some((_, down)) => self.offer(down, index, bytes),
                None => self.arrive_at_client(index, &bytes),
            }
        }
        let deadline = self.server.poll_timeout();
        if self.server_wake != deadline {
            self.server_wake = deadline;
            if let Some(at) = deadline {
                self.enter(at, Wake::Server);
            }
        }
    }

    fn offer(&mut self, link: usize, client: usize, bytes: Bytes) {
        let size = ByteCount(bytes.len() as u64);
        self.links[link].link.handle_packet(
            self.now,
            Parcel { client, peer: None, bytes, ecn: Ecn::NotEct },
            size,
        );
        self.schedule_link(link);
    }

    fn schedule_link(&mut self, index: usize) {
        let deadline = self.links[index].link.poll_timeout();
        if self.links[index].wake != deadline {
            self.links[index].wake = deadline;
            if let Some(at) = deadline {
                self.enter(at, Wake::Link(index));
            }
        }
    }

    fn deliver(&mut self, index: usize) {
        while let Some(delivery) = self.links[index].poll_deliver(self.now) {
            let Parcel { client, bytes, .. } = delivery.packet;
            let bytes = match delivery.corrupt {
                Some(bit) => corrupted(&bytes, 0, bit),
                None => bytes,
            };
            match self.links[index].direction {
                Direction::Up => self.arrive_at_server(client, &bytes),
                Direction::Down => self.arrive_at_client(client, &bytes),
            }
        }
        self.schedule_link(index);
    }

    fn arrive_at_server(&mut self, client: usize, bytes: &[u8]) {
        self.server.handle_datagram(self.now, self.clients[client].address, bytes);
        self.settle_server();
    }

    fn arrive_at_client(&mut self, client: usize, bytes: &[u8]) {
        self.clients[client].end.handle_datagram(self.now, SERVER.into(), bytes);
        self.settle_client(client);
    }

    fn schedule_workload(&mut self) {
        let deadline = self.workload.poll_timeout();
        if self.workload_wake != deadline {
            self.workload_wake = deadline;
            if let Some(at) = deadline {
                self.enter(at, Wake::Workload);
            }
        }
    }

    fn is_over(&self) -> bool {
        if self.began.is_none() || self.now < self.workload.load_ends() {
            return false;
        }
        self.recorder.is_settled() || self.now >= self.workload.drain_ends()
    }

    /// Tells the recorder what only the driver counts, as it was at `at`.
    fn tick(&mut self, at: Timestamp) {
        let retransmits = self.clients.iter().map(|client| client.end.end_record().stats.retransmits);
        let sample = Sample {
            retransmits: retransmits.sum::<u64>() + self.server.end_record().stats.retransmits,
            ..sample(&self.links, self.plan.scenario.transport.unseen_header_bytes())
        };
        self.recorder.tick(at, Some(sample));
    }

    fn fraction_done(&self) -> f64 {
        let Some(began) = self.began else { return 0.0 };
        let planned = self.workload.load_ends().since(began).as_secs_f64();
        (self.now.since(began).as_secs_f64() / planned.max(1e-9)).min(1.0)
    }

    fn enter(&mut self, at: Timestamp, wake: Wake) {
        self.entries += 1;
        self.heap.push(Reverse((at, self.entries, wake)));
    }

    fn into_record(mut self) -> RunRecord {
        if self.began.is_none() {
            let clients = self.clients.len();
            self.failures.push(format!("only {} of {clients} clients got into their rooms", self.joined));
        }
        self.tick(self.now);
        RunRecord {
            began: self.began.unwrap_or(self.now),
            ended: self.now,
            ends: self.clients.iter().map(|client| client.end.end_record()).collect(),
            server: self.server.end_record().stats,
            traces: Traces::default(),
            links: named_links(&self.plan.scenario, &self.links),
            recorded: self.recorder.finish(&self.plan.scenario, self.now),
            hiccup: None,
            hiccups_us: None,
            cpu_s: BTreeMap::new(),
            orphans: None,
            harness_drops: 0,
            invalid: self.invalid,
            failures: self.failures,
        }
    }
}

/// Each client has an address of its own, from 10.0.0.1 on: two in one room must not be one peer.
fn address(client: u32) -> SocketAddr {
    (std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(10, 0, 0, 1)) + client), 4433).into()
}

const SERVER: (std::net::Ipv4Addr, u16) = (std::net::Ipv4Addr::new(192, 0, 2, 1), 4433);
