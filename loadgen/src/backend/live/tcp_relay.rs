//! The relay of the TCP baseline and its clients: sockets around [`Relay`] and [`Inbox`].

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::client::{ClientLog, Order};
use super::seat::{Heard, Seat};
use crate::backend::baseline::record::{Inbox, Record};
use crate::backend::baseline::relay::{Output, PeerId, Relay};

/// The relay, running.
pub(super) struct RelayHandle {
    task: JoinHandle<()>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl RelayHandle {
    pub(super) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Ends it and tells what went wrong.
    pub(super) fn stop(self) -> Vec<String> {
        self.task.abort();
        std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

enum Input {
    Accepted { peer: PeerId, out: mpsc::Sender<Bytes> },
    Record { peer: PeerId, record: Record },
    Gone { peer: PeerId },
}

/// Starts the relay on the current runtime.
pub(super) fn start(listeners: Vec<TcpListener>, relay: Relay, heard: Heard) -> RelayHandle {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let task = tokio::spawn(serve(listeners, relay, heard, Arc::clone(&failures)));
    RelayHandle { task, failures }
}

async fn serve(
    listeners: Vec<TcpListener>,
    mut relay: Relay,
    heard: Heard,
    failures: Arc<Mutex<Vec<String>>>,
) {
    let (inputs, mut input) = mpsc::channel(INPUTS);
    // Dropped with this task, and with it everything that it accepted.
    let mut doors = JoinSet::new();
    for (number, listener) in (0..).zip(listeners) {
        doors.spawn(accept(listener, number, inputs.clone()));
    }
    drop(inputs);
    let mut peers: BTreeMap<PeerId, mpsc::Sender<Bytes>> = BTreeMap::new();
    while let Some(input) = input.recv().await {
        match input {
            Input::Accepted { peer, out } => {
                peers.insert(peer, out);
            }
            Input::Record { peer, record } => relay.handle_record(peer, record),
            Input::Gone { peer } => {
                peers.remove(&peer);
                relay.disconnect(peer);
            }
        }
        while let Some(output) = relay.poll_output() {
            match output {
                Output::Transmit { peer, bytes } => {
                    let out = peers.get(&peer).map(|out| out.try_send(bytes));
                    if let Some(Err(mpsc::error::TrySendError::Full(_))) = out {
                        let text = format!("the relay had no room for a message to its peer {peer}");
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                    }
                }
                Output::Received { message } => heard.on_received(message),
            }
        }
    }
}

/// Takes connections of one listener. Peers of different listeners have different numbers.
async fn accept(listener: TcpListener, number: PeerId, inputs: mpsc::Sender<Input>) {
    let mut connections = JoinSet::new();
    for count in 0.. {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let peer = (number << 32) | count;
        // Only a connection that is gone already refuses it.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let (out, outgoing) = mpsc::channel(OUTGOING);
        if inputs.send(Input::Accepted { peer, out }).await.is_err() {
            return;
        }
        connections.spawn(read(reader, peer, inputs.clone()));
        connections.spawn(write(writer, outgoing));
    }
}

async fn read(mut reader: OwnedReadHalf, peer: PeerId, inputs: mpsc::Sender<Input>) {
    let mut inbox = Inbox::default();
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        inbox.push(&buffer[..length]);
        while let Ok(Some(record)) = inbox.poll() {
            if inputs.send(Input::Record { peer, record }).await.is_err() {
                return;
            }
        }
    }
    let _ = inputs.send(Input::Gone { peer }).await;
}

async fn write(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = outgoing.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// One client: a socket of its own, made beforehand where its packets meet the link.
pub(super) async fn client(mut seat: Seat, socket: io::Result<TcpSocket>, server: SocketAddr) -> ClientLog {
    seat.begin().await;
    let connected = match socket {
        Ok(socket) => socket.connect(server).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => converse(&mut seat, &stream).await,
        Err(error) => seat.problem("cannot connect", error),
    }
    seat.log
}

async fn converse(seat: &mut Seat, stream: &TcpStream) {
    let mut waiting = Waiting::default();
    waiting.push(seat.join());
    let mut inbox = Inbox::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if let Err(error) = waiting.flush(stream) {
            return seat.problem("lost its connection", error);
        }
        let wanted =
            if waiting.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        tokio::select! {
            // A clock that is late is the generator's fault, a socket that is read late is not.
            biased;
            order = seat.orders.recv() => match order {
                Some(Order::Send(intent)) => seat.submit(&intent, |bytes| waiting.push(bytes)),
                // Nobody comes or goes with a baseline.
                Some(Order::Leave { .. } | Order::Return) => {}
                Some(Order::Stop) | None => return,
            },
            ready = stream.ready(wanted) => {
                let read = ready.and_then(|_| stream.try_read(&mut buffer));
                match read {
                    Ok(0) => return seat.problem("lost its connection", "closed by the relay"),
                    Ok(length) => inbox.push(&buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return seat.problem("lost its connection", error),
                }
                loop {
                    match inbox.poll() {
                        Ok(Some(record)) => seat.on_record(record),
                        Ok(None) => break,
                        Err(error) => return seat.problem("cannot read the relay", error),
                    }
                }
            }
        }
    }
}

/// Records that the kernel has not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Bytes>,
    bytes: usize,
}

impl Waiting {
    /// Whether there was room.
    fn push(&mut self, record: Bytes) -> bool {
        let has_room = self.bytes + record.len() <= MAX_WAITING;
        if has_room {
            self.bytes += record.len();
            self.records.push_back(record);
        }
        has_room
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Gives the kernel each record as a write of its own, as far as it takes them.
    fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while let Some(front) = self.records.front_mut() {
            match stream.try_write(front) {
                Ok(written) => {
                    self.bytes -= written;
                    front.advance(written);
                    if front.is_empty() {
                        self.records.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Records read and not yet handed on; beyond it the readers wait, and so do the peers.
const INPUTS: usize = 4096;
/// Messages for one peer that the kernel has not taken: twenty minutes of silence at 50/s. Beyond it a message is dropped,
/// counts as lost, and the run has failed.
const OUTGOING: usize = 65_536;
/// Bytes a client keeps for the kernel: as much as a session of ours takes. Beyond it a message is refused and counted.
const MAX_WAITING: usize = 4 << 20;
/// More than a message of the shipped scenarios; longer ones take several reads.
const READ_BYTES: usize = 64 << 10;
