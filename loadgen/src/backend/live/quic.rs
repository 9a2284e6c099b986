//! QUIC on the stage: quinn's machines on UDP sockets, behind the same relays of datagrams as our own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use chat_client::net::wait;
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use units::{Clock, Seed, Timestamp};

use super::client::{ClientLog, Order};
use super::ears::Ears;
use super::network::Network;
use super::reports::Reports;
use super::seat::{Heard, Seat, seats};
use super::stage::{Crowd, Stage, StageRecord, collect, runtime};
use crate::backend::baseline::quic::{Event, QuicEnd};
use crate::backend::baseline::relay::{Output, Relay};
use crate::backend::{Cast, EndRecord, RunError, RunPlan, ServerAt};
use crate::scenario::Baseline;

/// Relay and emulator, running.
pub(super) struct Quic {
    clients: Runtime,
    services: Runtime,
    network: Network,
    server: JoinHandle<EndRecord>,
    stop: oneshot::Sender<()>,
    failures: Arc<Mutex<Vec<String>>>,
    heard: Heard,
}

impl Quic {
    pub(super) fn build(plan: &RunPlan, clock: Clock, heard: Heard) -> Result<Self, RunError> {
        if let ServerAt::External(address) = plan.server {
            let text = format!("quic brings its own relay and cannot use the server at {address}");
            return Err(RunError::Setup(text));
        }
        let clients = runtime("clients")?;
        let services = runtime("services")?;
        let socket = services.block_on(bind())?;
        let address = socket.local_addr().map_err(unusable)?;
        let network = Network::lay(plan, clock, &services, address)?;
        let (stop, stopped) = oneshot::channel();
        let failures = Arc::new(Mutex::new(Vec::new()));
        let server = Server {
            socket,
            end: QuicEnd::new(&plan.scenario.baseline, &plan.seed.fork("server"), clock, true),
            relay: Relay::new(Arc::new(Cast::new(&plan.scenario, String::new()))),
            clock,
            heard: heard.clone(),
            failures: Arc::clone(&failures),
        };
        let server = services.spawn(server.serve(stopped));
        Ok(Self { clients, services, network, server, stop, failures, heard })
    }
}

impl Stage for Quic {
    fn prefix(&self) -> &str {
        ""
    }

    fn start_clients(
        &self,
        plan: &RunPlan,
        _cast: &Arc<Cast>,
        clock: Clock,
        _reports: &Reports,
        _ears: &Arc<Ears>,
    ) -> Crowd {
        let mut crowd = Crowd { orders: Vec::new(), tasks: Vec::new() };
        for (orders, seat) in seats(plan, clock, &self.heard) {
            let server = self.network.entrance(seat.link.as_deref());
            let seed = plan.seed.fork(&format!("session/{}", seat.index));
            crowd.orders.push(orders);
            crowd.tasks.push(self.clients.spawn(client(seat, server, plan.scenario.baseline, seed, clock)));
        }
        crowd
    }

    fn begin_blackouts(&self, plan: &RunPlan, began: Timestamp) {
        self.network.begin_blackouts(plan, began);
    }

    fn check_server(&mut self) -> Result<(), RunError> {
        if self.server.is_finished() {
            return Err(RunError::Internal("the relay of the baseline has stopped".to_owned()));
        }
        Ok(())
    }

    fn collect(&self, tasks: Vec<JoinHandle<ClientLog>>) -> Vec<ClientLog> {
        collect(&self.clients, tasks)
    }

    fn finish(self: Box<Self>) -> StageRecord {
        let mut record = StageRecord::default();
        self.network.finish(&mut record);
        // If the relay is gone already, its handle tells.
        let _ = self.stop.send(());
        match self.services.block_on(self.server) {
            Ok(end) => record.stats = end.stats,
            Err(error) => record.failures.push(format!("the relay of the baseline failed: {error}")),
        }
        record.failures.append(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner));
        record
    }
}

struct Server {
    socket: UdpSocket,
    end: QuicEnd,
    relay: Relay,
    clock: Clock,
    heard: Heard,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn serve(mut self, mut stopped: oneshot::Receiver<()>) -> EndRecord {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            self.settle();
            send_all(&mut self.end, &self.socket).await;
            tokio::select! {
                _ = &mut stopped => return self.end.end_record(),
                received = self.socket.recv_from(&mut buffer) => {
                    // An error is an answer to a datagram for a client that has left.
                    if let Ok((length, from)) = received {
                        self.end.handle_datagram(self.clock.now(), from, &buffer[..length]);
                    }
                }
                () = wait(self.end.poll_timeout(), self.clock) => self.end.handle_timeout(self.clock.now()),
            }
        }
    }

    fn settle(&mut self) {
        while let Some(event) = self.end.poll_event() {
            match event {
                Event::Record { peer, record } => self.relay.handle_record(peer, record),
                Event::Lost { peer, .. } => self.relay.disconnect(peer),
                Event::Connected(_) => {}
            }
            while let Some(output) = self.relay.poll_output() {
                match output {
                    Output::Transmit { peer, bytes } => {
                        if self.end.send(self.clock.now(), peer, bytes).is_err() {
                            let text = format!("the relay had no room for a message to its peer {peer}");
                            self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                        }
                    }
                    Output::Received { message } => self.heard.on_received(message),
                }
            }
        }
    }
}

async fn client(
    mut seat: Seat,
    server: SocketAddr,
    baseline: Baseline,
    seed: Seed,
    clock: Clock,
) -> ClientLog {
    seat.begin().await;
    let socket = match bind().await {
        Ok(socket) => socket,
        Err(error) => {
            seat.problem("cannot open a socket", error);
            return seat.log;
        }
    };
    let mut end = QuicEnd::new(&baseline, &seed, clock, false);
    let peer = end.connect(seat.now(), server);
    end.send(seat.now(), peer, seat.join()).expect("a new connection has room");
    let mut buffer = vec![0; DATAGRAM];
    loop {
        while let Some(event) = end.poll_event() {
            match event {
                Event::Record { record, .. } => seat.on_record(record),
                Event::Lost { reason, .. } => seat.problem("lost its connection", reason),
                Event::Connected(_) => {}
            }
        }
        send_all(&mut end, &socket).await;
        tokio::select! {
            biased;
            order = seat.orders.recv() => match order {
                Some(Order::Send(intent)) => {
                    let now = seat.now();
                    seat.submit(&intent, |bytes| end.send(now, peer, bytes).is_ok());
                }
                // Nobody comes or goes with a baseline.
                Some(Order::Leave { .. } | Order::Return) => {}
                Some(Order::Stop) | None => break,
            },
            received = socket.recv_from(&mut buffer) => {
                if let Ok((length, from)) = received {
                    end.handle_datagram(seat.now(), from, &buffer[..length]);
                }
            }
            () = wait(end.poll_timeout(), clock) => end.handle_timeout(seat.now()),
        }
    }
    seat.log.end = end.end_record();
    seat.log
}

async fn send_all(end: &mut QuicEnd, socket: &UdpSocket) {
    while let Some((to, bytes)) = end.poll_transmit() {
        // What the socket does not take is a lost datagram to QUIC; the emulator's own drops are counted there.
        let _ = socket.send_to(&bytes, to).await;
    }
}

async fn bind() -> Result<UdpSocket, RunError> {
    UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.map_err(unusable)
}

fn unusable(error: std::io::Error) -> RunError {
    RunError::Setup(format!("quic: cannot open a socket: {error}"))
}

/// Longer than any datagram of ours or quinn's.
const DATAGRAM: usize = 2048;
