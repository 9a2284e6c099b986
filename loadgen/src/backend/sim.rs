//! The virtual driver: every machine of a run in one event loop, with a clock that jumps.
//!
//! The loop is the one of the real shells (wait, feed one input, drain, act, note the next deadline), only that waiting
//! costs nothing. Ties in time break by the order in which deadlines were entered, and nothing is iterated in hash order,
//! so the same plan gives the same record, byte for byte, on every machine.
//!
//! What it leaves out: sockets, kernels and schedulers. A stream is modelled as the emulator's frame relay over a perfect
//! carrier: frames may be lost or late, the carrier itself never is. What a kernel's TCP would add is only measured by
//! the live driver.

mod agenda;
pub(super) mod links;
mod people;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat_client::session::{Output, Session};
use chat_core::carrier::Carrier;
use chat_core::connection::Stats;
use chat_core::path::{Ecn, Heard, Introduction};
use chat_core::wire::framing::LENGTH_BYTES;
use chat_server::endpoint::{AddressValidation, Flows, Lookup, Permission};
use chat_server::engine::{self, Engine, PeerId};
use netem_proxy::link::Meta;
use netem_proxy::proxy::corrupted;
use rustc_hash::FxHashMap;
use units::{ByteCount, Timestamp};

use super::ability;
use super::actor::{Actor, is_anybody_leaving};
use super::baseline::quic_sim;
use super::{
    Cast, EndRecord, Heeded, JOIN_PATIENCE, Latest, Progress, RunError, RunPlan, RunRecord, ServerAt, Traces,
    engine_config, session_config,
};
use crate::measure::{Recorder, Sample};
use crate::record::Side;
use crate::scenario::{Driver, Transport};
use crate::seen::Seen;
use crate::workload::{Intent, Workload};

use agenda::{Agenda, Event, Wake};
use links::{Direction, Parcel, SimLink, begin_blackouts, lay_links, named_links, with_simulated_socket};
use people::Reading;

/// Runs `plan` in virtual time. `progress` hears how far it is, about once for each virtual second.
pub fn run(
    plan: &RunPlan,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(Progress) -> Heeded,
) -> Result<RunRecord, RunError> {
    check(plan)?;
    if plan.scenario.transport == Transport::Quic {
        return quic_sim::run(plan, interrupt, progress);
    }
    let mut world = World::new(plan);
    world.begin();
    world.run(interrupt, progress)?;
    Ok(world.into_record())
}

/// Runs `plan`, which is not over a baseline, and counts its events: inputs that a machine was fed. A packet is three of them
/// on its way, offered to a link, leaving it, and heard at its end; a timer that was due is one, and so is a message of the
/// schedule. For benches.
pub fn count_events(plan: &RunPlan) -> Result<u64, RunError> {
    check(plan)?;
    let mut world = World::new(plan);
    world.begin();
    world.run(&AtomicBool::new(false), &mut |_| ControlFlow::Continue(()))?;
    Ok(world.events)
}

fn check(plan: &RunPlan) -> Result<(), RunError> {
    if let ServerAt::External(address) = plan.server {
        let text = format!("a virtual run cannot reach the server at {address}; use --driver real");
        return Err(RunError::Setup(text));
    }
    ability::check(&plan.scenario, Driver::Virtual)
}

/// All machines, and the deadlines between them.
struct World<'a> {
    plan: &'a RunPlan,
    cast: Arc<Cast>,
    now: Timestamp,
    engine: Engine,
    clients: Vec<Client>,
    links: Vec<SimLink>,
    workload: Workload,
    began: Option<Timestamp>,
    recorder: Recorder,
    traces: Traces,
    agenda: Agenda,
    /// Inputs that machines were fed; see [`count_events`].
    events: u64,
    next_peer: u64,
    /// Which client a peer of the server is.
    clients_of: FxHashMap<PeerId, usize>,
    /// Which datagram is whose, as the server's socket sees it.
    flows: Flows,
    joined: usize,
    /// When an interval ends next.
    next_tick: Timestamp,
    invalid: Vec<String>,
    failures: Vec<String>,
}

struct Client {
    session: Session,
    /// Its carrier at the server, while a stream is open.
    peer: Option<PeerId>,
    /// What stands between its session and its UDP socket, while it has one.
    introduction: Introduction,
    /// Where its datagrams come from, as the server sees it. Another port after a NAT has forgotten it.
    address: SocketAddr,
    /// Indices of its links, up and down; `None`: directly connected.
    links: Option<(usize, usize)>,
    actor: Actor,
    reading: Reading,
    /// How long it looks at nothing after each message.
    stall: Duration,
    cwnd_max: u64,
    /// Sessions that it has left behind, and their counters.
    sessions: u32,
    past: Stats,
}

impl<'a> World<'a> {
    fn new(plan: &'a RunPlan) -> Self {
        let scenario = &plan.scenario;
        let cast = Arc::new(Cast::new(scenario, String::new()));
        let mut config = engine_config(plan, &cast);
        config.unix_us_at_zero = VIRTUAL_EPOCH_US;
        config.trace_waits = true;
        config.transport = with_simulated_socket(scenario, config.transport);
        let (links, of_client) = lay_links(plan);
        let (groups, is_anybody_leaving) = (scenario.groups(), is_anybody_leaving(scenario));
        let clients = (0..cast.clients()).map(|index| {
            let mut session = session_config(plan, &cast, index, VIRTUAL_EPOCH_US);
            session.transport = with_simulated_socket(scenario, session.transport);
            let mut session = Session::new(Timestamp::ZERO, session);
            session.set_wait_tracing(true);
            session.set_tracing(cast.traced(scenario).contains(&index));
            Client {
                session,
                peer: None,
                introduction: Introduction::new(),
                address: SocketAddr::from((Ipv4Addr::from_bits(FIRST_ADDRESS + index), PORT)),
                links: of_client[index as usize],
                actor: Actor::new(index, Arc::clone(&cast), is_anybody_leaving),
                reading: Reading::default(),
                stall: scenario.clients[groups[index as usize]].stall,
                cwnd_max: 0,
                sessions: 0,
                past: Stats::default(),
            }
        });
        let clients: Vec<Client> = clients.collect();
        Self {
            engine: Engine::new(config),
            agenda: Agenda::new(clients.len(), links.len()),
            clients,
            links,
            workload: Workload::new(scenario, plan.seed.fork("workload")),
            recorder: Recorder::new(scenario, Arc::clone(&cast), Ok(())),
            cast,
            plan,
            now: Timestamp::ZERO,
            began: None,
            traces: Traces::default(),
            events: 0,
            next_peer: 0,
            clients_of: FxHashMap::default(),
            flows: Flows::new(plan.seed, AddressValidation::default()),
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
                let at = Timestamp::ZERO + group.start(place, &self.plan.seed);
                self.agenda.enter(at, Event::Start(index));
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
        let mut next_report = Timestamp::ZERO;
        let mut latest = Latest::new(&self.plan.scenario);
        loop {
            // 1. Wait: jump to the earliest deadline.
            let Some((at, wake)) = self.agenda.pop() else {
                // Every client with a session has a heartbeat ahead, so this is a defect of a machine.
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
            if self.began.is_none() && self.now > Timestamp::ZERO + self.longest_ramp() + JOIN_PATIENCE {
                return Ok(());
            }
            if self.now >= next_report {
                if interrupt.load(Ordering::Relaxed) {
                    let measured = self.began.map_or(Duration::ZERO, |began| self.now.since(began));
                    self.invalid.push(super::interrupted(measured));
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
            self.feed(wake);
            if self.is_over() {
                let _ = progress(Progress::Fraction(1.0));
                return Ok(());
            }
        }
    }

    fn feed(&mut self, wake: Wake) {
        let now = self.now;
        match wake {
            Wake::Client(index) => {
                self.events += 1;
                if !self.clients[index].actor.is_away() {
                    self.clients[index].session.handle_timeout(now);
                }
                self.settle_client(index);
            }
            Wake::Server => {
                self.events += 1;
                self.engine.handle_timeout(now);
                self.settle_server();
            }
            Wake::Link(index) => self.deliver(index),
            Wake::Workload => self.send_due(),
            Wake::Once(Event::Start(index)) => {
                self.clients[index].session.start(now);
                self.clients[index].actor.on_started(now);
                self.settle_client(index);
            }
            Wake::Once(Event::Reader(index)) => self.read_on(index),
            Wake::Once(Event::ServerHearsClose(peer)) => {
                self.engine.disconnect(now, peer);
                self.forget_peer(peer);
                self.settle_server();
            }
            Wake::Once(Event::ClientHearsClose(peer)) => self.close_carrier(peer),
        }
    }

    /// Acts on what a session wants, then notes its deadline.
    fn settle_client(&mut self, index: usize) {
        let now = self.now;
        let mut texts = 0;
        loop {
            let client = &mut self.clients[index];
            while let Some(event) = client.session.poll_event() {
                texts += client.actor.on_event(now, &mut client.session, event);
            }
            // Before what was heard: with that, a message may be done with.
            while let Some(waited) = self.clients[index].session.poll_wait() {
                self.recorder.on_client_wait(index as u32, &waited);
            }
            self.move_on(index);
            self.pass_on(index);
            let Some(output) = self.clients[index].session.poll_output() else {
                break;
            };
            match output {
                Output::Connect => self.open_carrier(index),
                Output::Transmit(bytes) => self.send_up(index, bytes),
                Output::Close => {
                    if let Some(peer) = self.clients[index].peer.take() {
                        let at = now + self.way(index, Direction::Up);
                        self.agenda.enter(at, Event::ServerHearsClose(peer));
                    }
                }
            }
        }
        let client = &mut self.clients[index];
        while let Some(event) = client.session.poll_trace() {
            self.traces.push(index as u32, Side::Client, event);
        }
        client.cwnd_max = client.cwnd_max.max(client.session.connection().cwnd().as_u64());
        let session = client.session.poll_timeout().filter(|_| !client.actor.is_away());
        let deadline = session.into_iter().chain(client.actor.poll_timeout()).min();
        self.agenda.set(Wake::Client(index), deadline);
        self.rest(index, texts);
    }

    /// Everyone is in: the first phase begins, and blackouts count from now.
    fn start_load(&mut self) {
        let now = self.now;
        self.began = Some(now);
        self.recorder.begin(now);
        self.next_tick = now;
        begin_blackouts(&mut self.links, now);
        self.workload.start(now);
        self.schedule_workload();
    }

    fn send_due(&mut self) {
        while let Some(step) = self.workload.poll_step(self.now) {
            self.carry_out(step);
        }
        self.schedule_workload();
    }

    fn send(&mut self, intent: Intent) {
        self.events += 1;
        self.recorder.on(Seen::Intent(intent));
        let delivery = self.plan.scenario.workloads[usize::from(intent.workload)].delivery;
        let index = intent.sender as usize;
        let client = &mut self.clients[index];
        client.actor.send(self.now, &mut client.session, &intent, delivery);
        self.settle_client(index);
    }

    fn schedule_workload(&mut self) {
        self.agenda.set(Wake::Workload, self.workload.poll_timeout());
    }

    /// A client opens a carrier; both kinds open at once, as they do before a local emulator.
    fn open_carrier(&mut self, index: usize) {
        if self.plan.scenario.transport == Transport::Tcp {
            let peer = self.new_peer(index, Carrier::stream());
            self.clients[index].peer = Some(peer);
        }
        self.clients[index].introduction = Introduction::new();
        self.clients[index].session.on_connected(self.now);
    }

    fn new_peer(&mut self, index: usize, carrier: Carrier) -> PeerId {
        self.next_peer += 1;
        let peer = PeerId(self.next_peer);
        self.clients_of.insert(peer, index);
        self.engine.connect(self.now, peer, carrier, format!("client {index}"));
        peer
    }

    /// From a client's session, by way of what stands between it and its socket.
    fn send_up(&mut self, index: usize, bytes: Bytes) {
        let is_udp = self.is_udp();
        let bytes = if is_udp { self.clients[index].introduction.present(bytes) } else { bytes };
        self.leave_client(index, bytes);
    }

    fn leave_client(&mut self, index: usize, bytes: Bytes) {
        let ecn = self.clients[index].session.connection().codepoint();
        let parcel = Parcel { client: index, peer: self.clients[index].peer, bytes, ecn };
        match self.clients[index].links {
            Some((up, _)) => self.offer(up, parcel),
            None => self.arrive_at_server(parcel),
        }
    }

    fn offer(&mut self, link: usize, parcel: Parcel) {
        self.events += 1;
        let size = ByteCount(parcel.bytes.len() as u64);
        let meta = Meta { ecn: parcel.markable(), ..Meta::of_size(size) };
        self.links[link].link.handle(self.now, parcel, meta);
        self.schedule_link(link);
    }

    fn schedule_link(&mut self, index: usize) {
        self.agenda.set(Wake::Link(index), self.links[index].link.poll_timeout());
    }

    fn deliver(&mut self, index: usize) {
        while let Some(delivery) = self.links[index].poll_deliver(self.now) {
            if self.links[index].link.poll_rebind(delivery.due).is_some() {
                self.change_addresses(index);
            }
            self.events += 1;
            let mut parcel = delivery.packet;
            if delivery.mark {
                parcel.ecn = Ecn::Ce;
            }
            if let Some(bit) = delivery.corrupt {
                // The relay of a stream never damages the length, or it would lose the frames behind it.
                let protected = if self.plan.scenario.transport == Transport::Tcp { LENGTH_BYTES } else { 0 };
                parcel.bytes = corrupted(&parcel.bytes, protected, bit);
            }
            match self.links[index].direction {
                Direction::Up => self.arrive_at_server(parcel),
                Direction::Down => self.arrive_at_client(&parcel),
            }
        }
        self.schedule_link(index);
    }

    /// The NAT behind a link has forgotten its flows: their next datagrams come from other ports.
    fn change_addresses(&mut self, link: usize) {
        for client in &mut self.clients {
            if client.links.is_some_and(|(up, down)| link == up || link == down) {
                let port = client.address.port().checked_add(1).unwrap_or(PORT);
                client.address.set_port(port);
            }
        }
    }

    fn arrive_at_server(&mut self, parcel: Parcel) {
        self.events += 1;
        match parcel.peer {
            Some(peer) => self.engine.handle_bytes(self.now, peer, &parcel.bytes),
            None => self.datagram_at_server(&parcel),
        }
        self.settle_server();
    }

    /// As the server's socket does it: by the sender's address and the connection id in the header.
    fn datagram_at_server(&mut self, parcel: &Parcel) {
        let from = self.clients[parcel.client].address;
        let (peer, inner) = match self.flows.handle_datagram(self.now, from, &parcel.bytes) {
            Lookup::Known { peer, inner } => (peer, inner),
            Lookup::Stranger { newcomer, inner } => {
                let peer = self.new_peer(parcel.client, Carrier::datagram(newcomer.connection_id));
                self.flows.insert(peer, newcomer);
                (peer, inner)
            }
            Lookup::Reply(bytes) => return self.send_down(parcel.client, None, bytes),
            Lookup::Ignored | Lookup::Foreign => return,
        };
        self.engine.handle_datagram(self.now, peer, from, parcel.ecn, inner);
    }

    fn send_down(&mut self, client: usize, peer: Option<PeerId>, bytes: Bytes) {
        let ecn = peer.map_or(Ecn::NotEct, |peer| self.engine.codepoint(peer));
        let parcel = Parcel { client, peer, bytes, ecn };
        match self.clients[client].links {
            Some((_, down)) => self.offer(down, parcel),
            None => self.arrive_at_client(&parcel),
        }
    }

    fn arrive_at_client(&mut self, parcel: &Parcel) {
        self.events += 1;
        if !self.clients[parcel.client].actor.is_away() && self.is_reading(parcel) {
            self.take(parcel);
        }
    }

    fn take(&mut self, parcel: &Parcel) {
        let (now, is_udp) = (self.now, self.is_udp());
        if self.clients[parcel.client].actor.is_away() {
            return;
        }
        let client = &mut self.clients[parcel.client];
        if !is_udp {
            if parcel.peer.is_some() && client.peer != parcel.peer {
                return;
            }
            client.session.handle_bytes(now, &parcel.bytes);
        } else if client.introduction.handle_datagram(&parcel.bytes) == Heard::Other {
            client.session.handle_datagram(now, parcel.ecn, &parcel.bytes);
        } else {
            let again: Vec<Bytes> = std::iter::from_fn(|| client.introduction.poll_transmit()).collect();
            again.into_iter().for_each(|bytes| self.leave_client(parcel.client, bytes));
        }
        self.settle_client(parcel.client);
    }

    fn is_udp(&self) -> bool {
        self.plan.scenario.transport == Transport::Udp
    }

    /// Acts on what the server wants, then notes its deadline.
    fn settle_server(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                engine::Output::Transmit { peer, bytes } => {
                    let is_withheld =
                        self.is_udp() && self.flows.permit(peer, bytes.len()) == Permission::Withhold;
                    if let Some(&client) = self.clients_of.get(&peer).filter(|_| !is_withheld) {
                        self.send_down(client, Some(peer), bytes);
                    }
                }
                // A NAT passes on what comes to a port it had, for a while; all of a client's ports lead to it.
                engine::Output::TransmitTo { peer, bytes, .. } => {
                    if let Some(&client) = self.clients_of.get(&peer) {
                        self.send_down(client, Some(peer), bytes);
                    }
                }
                engine::Output::Migrate { peer, to } => {
                    if let Some(displaced) = self.flows.migrate(peer, to) {
                        self.engine.disconnect(self.now, displaced);
                        self.forget_peer(displaced);
                    }
                }
                engine::Output::Close { peer } => {
                    if let Some(&index) = self.clients_of.get(&peer) {
                        let at = self.now + self.way(index, Direction::Down);
                        self.agenda.enter(at, Event::ClientHearsClose(peer));
                    }
                }
            }
        }
        self.hear_server_waits();
        self.agenda.set(Wake::Server, self.engine.poll_timeout());
    }

    fn hear_server_waits(&mut self) {
        while let Some((user, waited)) = self.engine.poll_wait() {
            self.recorder.on_server_wait(self.cast.client(&user), &waited);
        }
    }

    /// How long the end of a stream is under way: as long as the slowest packet that was written before it. On a link
    /// with a queue that is not known beforehand; then the bound is generous, because a close is rare and never urgent.
    fn way(&self, index: usize, direction: Direction) -> Duration {
        let Some((up, down)) = self.clients[index].links else {
            return Duration::ZERO;
        };
        let link = &self.links[if direction == Direction::Up { up } else { down }].link;
        let profile = link.profile();
        let queueing = if profile.rate.is_some() { QUEUEING } else { Duration::ZERO };
        profile.mean_delay() + profile.jitter() * 4 + queueing
    }

    /// A carrier that nothing comes from or goes to any more; whose it was.
    fn forget_peer(&mut self, peer: PeerId) -> Option<usize> {
        self.flows.remove(peer);
        self.clients_of.remove(&peer)
    }

    fn close_carrier(&mut self, peer: PeerId) {
        let Some(index) = self.forget_peer(peer) else {
            return;
        };
        if self.clients[index].peer == Some(peer) {
            self.clients[index].peer = None;
            self.clients[index].session.on_disconnected(self.now, "closed by the server");
            self.settle_client(index);
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
        let sample = Sample {
            retransmits: self.engine.transport_stats().retransmits
                + self
                    .clients
                    .iter()
                    .map(|client| client.past.retransmits + client.session.connection().stats().retransmits)
                    .sum::<u64>(),
            ..links::sample(&self.links, self.plan.scenario.transport.unseen_header_bytes())
        };
        self.recorder.tick(at, Some(sample));
    }

    fn longest_ramp(&self) -> Duration {
        self.plan.scenario.longest_ramp()
    }

    fn fraction_done(&self) -> f64 {
        let Some(began) = self.began else {
            return 0.0;
        };
        let planned = self.workload.load_ends().since(began).as_secs_f64();
        (self.now.since(began).as_secs_f64() / planned.max(1e-9)).min(1.0)
    }

    fn into_record(mut self) -> RunRecord {
        if self.began.is_none() {
            let clients = self.clients.len();
            self.failures.push(format!("only {} of {clients} clients got into their rooms", self.joined));
        }
        let mut traces = std::mem::take(&mut self.traces);
        while let Some((user, event)) = self.engine.poll_trace() {
            let client =
                self.cast.traced(&self.plan.scenario).find(|&client| self.cast.user(client) == *user);
            if let Some(client) = client {
                traces.push(client, Side::Server, event);
            }
        }
        for (index, client) in (0..).zip(&mut self.clients) {
            client.session.tell_unfinished();
            while let Some(waited) = client.session.poll_wait() {
                self.recorder.on_client_wait(index, &waited);
            }
        }
        self.engine.tell_unfinished();
        self.hear_server_waits();
        self.tick(self.now);
        let ends = self.clients.iter().enumerate().map(|(index, client)| EndRecord {
            stats: self.stats(index),
            ..EndRecord::of(&client.session, client.cwnd_max)
        });
        let ends: Vec<EndRecord> = ends.collect();
        RunRecord {
            began: self.began.unwrap_or(self.now),
            ended: self.now,
            ends,
            server: self.engine.transport_stats(),
            traces,
            links: named_links(&self.plan.scenario, &self.links),
            recorded: self.recorder.finish(&self.plan.scenario, self.now),
            hiccup: None,
            hiccups_us: None,
            cpu_s: BTreeMap::new(),
            orphans: Some(self.engine.stats(self.now).detached),
            harness_drops: 0,
            invalid: self.invalid,
            failures: self.failures,
        }
    }
}

/// Wall-clock time of virtual time zero: 2020-01-01. Any constant does; a real one would differ from run to run.
const VIRTUAL_EPOCH_US: u64 = 1_577_836_800_000_000;
/// Addresses of the clients, as the server sees them: 10.0.0.0/8 from its first, each on this port at first.
const FIRST_ADDRESS: u32 = 0x0a00_0001;
const PORT: u16 = 40_000;
/// Longer than any queue of the shipped scenarios takes to empty.
const QUEUEING: Duration = Duration::from_secs(2);
