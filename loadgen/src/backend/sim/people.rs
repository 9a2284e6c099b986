//! What clients of a simulated run do beside talking: leaving, coming back, reading slowly.

use std::collections::VecDeque;
use std::net::SocketAddr;

use chat_client::session::Session;
use chat_core::connection::Stats;
use units::Timestamp;

use super::agenda::{Event, Wake};
use super::{Direction, PORT, Parcel, VIRTUAL_EPOCH_US, World, with_simulated_socket};
use crate::backend::actor::{Comeback, Happening, seed_again};
use crate::backend::session_config;
use crate::seen::Seen;
use crate::workload::Step;

/// How a client reads.
#[derive(Default)]
pub(super) struct Reading {
    /// It looks at its socket again then.
    until: Timestamp,
    /// What came meanwhile.
    held: VecDeque<Parcel>,
    held_bytes: usize,
}

impl World<'_> {
    pub(super) fn carry_out(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Send(intent) => self.send(intent),
            Step::Throttle(intent) => {
                self.recorder.on(Seen::Intent(intent));
                self.recorder.on(Seen::Refused { message: intent.id });
            }
            Step::Leave { client, is_abrupt } => {
                let index = client as usize;
                self.clients[index].actor.leave(now, is_abrupt);
                if self.clients[index].actor.is_away() {
                    self.drop_carrier(index);
                }
                self.settle_client(index);
            }
            Step::Return { client } => {
                let index = client as usize;
                if let Some(comeback) = self.clients[index].actor.come_back(now) {
                    self.come_back(index, comeback);
                }
                self.settle_client(index);
            }
        }
    }

    /// Passes on what happened to a client.
    pub(super) fn pass_on(&mut self, index: usize) {
        let (now, client) = (self.now, index as u32);
        let mut has_moved = false;
        while let Some(happening) = self.clients[index].actor.poll() {
            has_moved |= !matches!(happening, Happening::Seen(_) | Happening::Named { .. });
            match happening {
                Happening::Seen(seen) => self.recorder.on(seen),
                Happening::Named { message, number } => self.recorder.on_named(message, number.0),
                Happening::Settled { message } => self.workload.on_settled(now, message),
                Happening::Gone => self.workload.on_gone(now, client),
                Happening::Present => self.workload.on_present(now, client),
                Happening::Problem(problem) => self.failures.push(problem),
                Happening::Entered => {
                    self.joined += 1;
                    if self.joined == self.clients.len() && self.began.is_none() {
                        self.start_load();
                    }
                }
            }
        }
        if has_moved {
            self.schedule_workload();
        }
    }

    /// Goodbyes and second tries that are due; after every input of a client.
    pub(super) fn move_on(&mut self, index: usize) {
        let now = self.now;
        let client = &mut self.clients[index];
        if client.actor.departure(now, &client.session) {
            client.session.quit(now);
        }
        if let Some(comeback) = self.clients[index].actor.comeback(now) {
            self.come_back(index, comeback);
        }
    }

    fn come_back(&mut self, index: usize, comeback: Comeback) {
        let now = self.now;
        let client = &mut self.clients[index];
        // Another socket has another port.
        let port = client.address.port().checked_add(1).unwrap_or(PORT);
        client.address = SocketAddr::new(client.address.ip(), port);
        client.reading = Reading::default();
        match comeback {
            Comeback::Resume => client.session.on_disconnected(now, "it was away"),
            Comeback::Anew => {
                client.past += client.session.connection().stats();
                client.sessions += 1;
                let mut config = session_config(self.plan, &self.cast, index as u32, VIRTUAL_EPOCH_US);
                config.seed = seed_again(&config.seed, client.sessions);
                config.transport = with_simulated_socket(&self.plan.scenario, config.transport);
                client.session = Session::new(now, config);
                client.session.set_wait_tracing(true);
                client.session.set_tracing(self.cast.traced(&self.plan.scenario).contains(&(index as u32)));
                client.session.start(now);
            }
        }
    }

    /// It is gone without a word. A stream ends, as its kernel closes it; of datagrams there is just no more.
    fn drop_carrier(&mut self, index: usize) {
        self.agenda.set(Wake::Client(index), None);
        self.clients[index].reading = Reading::default();
        if let Some(peer) = self.clients[index].peer.take() {
            let at = self.now + self.way(index, Direction::Up);
            self.agenda.enter(at, Event::ServerHearsClose(peer));
        }
    }

    /// Whether a client takes this parcel now; if not it is held, or was lost at a full socket.
    pub(super) fn is_reading(&mut self, parcel: &Parcel) -> bool {
        let is_udp = self.is_udp();
        let reading = &mut self.clients[parcel.client].reading;
        if reading.until <= self.now && reading.held.is_empty() {
            return true;
        }
        // A stream's windows bound what is held; a socket for datagrams drops what it has no room for.
        let size = parcel.bytes.len() + DATAGRAM_OVERHEAD;
        if !is_udp || reading.held_bytes + size <= SOCKET_BYTES {
            reading.held_bytes += size;
            reading.held.push_back(parcel.clone());
        }
        false
    }

    /// A slow reader has heard `texts`, and looks at nothing for as long as each takes it.
    pub(super) fn rest(&mut self, index: usize, texts: u32) {
        let stall = self.clients[index].stall;
        if texts == 0 || stall.is_zero() {
            return;
        }
        let until = self.now + stall * texts;
        self.clients[index].reading.until = until;
        self.agenda.enter(until, Event::Reader(index));
    }

    /// It looks at its socket again.
    pub(super) fn read_on(&mut self, index: usize) {
        while self.clients[index].reading.until <= self.now {
            let reading = &mut self.clients[index].reading;
            let Some(parcel) = reading.held.pop_front() else { return };
            reading.held_bytes -= parcel.bytes.len() + DATAGRAM_OVERHEAD;
            self.take(&parcel);
        }
    }

    /// Counters of a client's sessions together.
    pub(super) fn stats(&self, index: usize) -> Stats {
        let mut stats = self.clients[index].past;
        stats += self.clients[index].session.connection().stats();
        stats
    }
}

/// What a socket of Linux holds of datagrams that nobody reads (`net.core.rmem_default`).
const SOCKET_BYTES: usize = 212_992;
/// What a datagram takes there beside its bytes, about: its descriptor (`struct sk_buff`).
const DATAGRAM_OVERHEAD: usize = 256;
