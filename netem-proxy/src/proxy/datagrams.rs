//! A UDP relay with a table of flows.
//!
//! Each client address is a flow with its own connected socket to the upstream, so the upstream sees one peer for each
//! client and answers find their way back. Datagrams are stamped as they are read, in batches; the pacing thread sends
//! them straight from the link, without a detour through the runtime. A datagram keeps its boundaries; its size is
//! that of its payload.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use units::{ByteCount, Timestamp};

use super::parcel::{Outlet, Parcel, cost};
use super::{FlowLinks, ProxyConfig, ProxyHandle, Shared, start as start_proxy};
use crate::pacer::Direction;

/// Starts a datagram relay; returns when it listens. Must be called within a tokio runtime.
///
/// # Errors
/// When the address cannot be bound, or the system refuses a thread.
pub async fn start(config: ProxyConfig) -> io::Result<ProxyHandle> {
    let socket = Arc::new(bind(config.listen, None)?);
    let local_addr = socket.local_addr()?;
    start_proxy(&config, local_addr, |shared| {
        let credit = Arc::new(Semaphore::new(CREDIT));
        tokio::spawn(Table { shared, socket, credit, flows: HashMap::new() }.serve())
    })
}

/// The flows of one listening socket.
struct Table {
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    credit: Arc<Semaphore>,
    /// Looked up by address, never iterated for anything that order could change.
    flows: HashMap<SocketAddr, Flow>,
}

struct Flow {
    links: Arc<FlowLinks>,
    upstream: Arc<UdpSocket>,
    activity: Arc<Activity>,
    answers: AbortHandle,
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

impl Table {
    async fn serve(mut self) {
        let socket = Arc::clone(&self.socket);
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                ready = socket.readable() => {
                    if ready.is_err() {
                        return; // The runtime is going down.
                    }
                    for _ in 0..DATAGRAMS_AT_ONCE {
                        match socket.try_recv_from(&mut buffer) {
                            Ok((len, client)) => self.forward(client, &buffer[..len]),
                            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                            Err(error) => note_read_error(&error, &self.shared),
                        }
                    }
                }
                _ = sweep.tick() => self.forget_idle(),
            }
        }
    }

    fn forward(&mut self, client: SocketAddr, payload: &[u8]) {
        let arrived = self.shared.clock.now();
        if !self.flows.contains_key(&client) {
            if self.flows.len() >= MAX_FLOWS {
                tracing::warn!(limit = MAX_FLOWS, "too many flows; refused one");
                return self.shared.tally.io_overrun();
            }
            match self.open_flow(client) {
                Ok(flow) => {
                    self.flows.insert(client, flow);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot open a socket to the upstream");
                    return self.shared.tally.io_overrun();
                }
            }
        }
        if let Some(flow) = self.flows.get(&client) {
            flow.activity.note(arrived);
            let to = Outlet::Socket(Arc::clone(&flow.upstream));
            offer(&flow.links, Direction::Up, arrived, payload, to, &self.credit);
        }
    }

    fn open_flow(&self, client: SocketAddr) -> io::Result<Flow> {
        let any = match self.shared.upstream {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let upstream = Arc::new(bind(any, Some(self.shared.upstream))?);
        let links = Arc::new(FlowLinks::open(&self.shared));
        let activity = Arc::new(Activity::default());
        let answers = Answers {
            upstream: Arc::clone(&upstream),
            links: Arc::clone(&links),
            activity: Arc::clone(&activity),
            credit: Arc::clone(&self.credit),
            to: Outlet::Client(Arc::clone(&self.socket), client),
        };
        let answers = tokio::spawn(answers.forward()).abort_handle();
        Ok(Flow { links, upstream, activity, answers })
    }

    fn forget_idle(&mut self) {
        let now = self.shared.clock.now();
        self.flows.retain(|_, flow| now.since(flow.activity.latest()) < IDLE_TIMEOUT);
    }
}

/// Reads what the upstream answers to one client.
struct Answers {
    upstream: Arc<UdpSocket>,
    links: Arc<FlowLinks>,
    activity: Arc<Activity>,
    credit: Arc<Semaphore>,
    to: Outlet,
}

impl Answers {
    async fn forward(self) {
        while self.upstream.readable().await.is_ok() {
            SCRATCH.with_borrow_mut(|buffer| self.read_batch(buffer));
        }
    }

    fn read_batch(&self, buffer: &mut [u8]) {
        for _ in 0..DATAGRAMS_AT_ONCE {
            match self.upstream.try_recv(buffer) {
                Ok(len) => {
                    let arrived = self.links.shared.clock.now();
                    self.activity.note(arrived);
                    let to = self.to.clone();
                    offer(&self.links, Direction::Down, arrived, &buffer[..len], to, &self.credit);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => note_read_error(&error, &self.links.shared),
            }
        }
    }
}

thread_local! {
    /// One for each thread of the runtime instead of 64 KiB for each of thousands of flows.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_DATAGRAM]);
}

/// Hands a datagram to its link, or counts it as an overrun: UDP has nobody to push back.
fn offer(
    links: &FlowLinks,
    direction: Direction,
    arrived: Timestamp,
    payload: &[u8],
    to: Outlet,
    credit: &Arc<Semaphore>,
) {
    let Ok(credit) = Arc::clone(credit).try_acquire_many_owned(cost(payload.len())) else {
        return links.shared.tally.io_overrun();
    };
    let bytes = Bytes::copy_from_slice(payload);
    let parcel = Parcel { bytes, protected: 0, to, credit: Arc::new(credit) };
    links.shared.pacer.send_packet(links.id(direction), arrived, parcel, ByteCount(payload.len() as u64));
}

/// A connected socket reports an ICMP refusal of something it sent earlier as an error of the next read.
fn note_read_error(error: &io::Error, shared: &Shared) {
    if error.kind() == ErrorKind::ConnectionRefused {
        shared.tally.refused();
    } else {
        tracing::debug!(%error, "cannot read a datagram");
    }
}

/// When a flow last carried anything, in either direction.
#[derive(Debug, Default)]
struct Activity(AtomicU64);

impl Activity {
    fn note(&self, now: Timestamp) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }

    fn latest(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A non-blocking socket with large buffers: what the kernel drops while this process is not scheduled would look
/// like loss on the link.
fn bind(addr: SocketAddr, peer: Option<SocketAddr>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None)?;
    // The kernel cuts these to its own limit; less than wished for is no error.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    if let Some(peer) = peer {
        socket.connect(&peer.into())?;
    }
    UdpSocket::from_std(socket.into())
}

/// The longest UDP payload there is.
const MAX_DATAGRAM: usize = 65_535;

/// Read before the runtime gets another turn.
const DATAGRAMS_AT_ONCE: usize = 64;

/// Half a second of 64 Mbit/s.
const SOCKET_BUFFER: usize = 4 << 20;

/// Bytes under way in all flows of a proxy: two seconds at 1 Gbit/s. Beyond it datagrams are dropped and counted.
const CREDIT: usize = 256 << 20;

/// Client addresses at a time; each holds a socket and two links.
const MAX_FLOWS: usize = 8192;

/// A flow silent for so long in both directions is forgotten; a NAT forgets UDP after 30 s to some minutes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
