//! A TCP relay for length-prefixed frames.
//!
//! A byte stream can be delayed but must not lose bytes, or nothing after the gap makes sense. A protocol of frames
//! (4-byte big-endian length, then the body) can lose, repeat, corrupt and reorder whole frames, and then its own
//! reliability is put to work. That is what this relay does; the length prefix itself is never touched.
//!
//! TCP underneath stays reliable and its own congestion control stays out of the picture: both connections are
//! local or fast compared with the link.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use units::ByteCount;

use super::parcel::{Credit, Outlet, Parcel, cost};
use super::{FlowLinks, ProxyConfig, ProxyHandle, Shared, start as start_proxy};
use crate::pacer::Direction;

/// Starts a frame relay; returns when it listens. Must be called within a tokio runtime.
///
/// # Errors
/// When the address cannot be bound, or the system refuses a thread.
pub async fn start(config: ProxyConfig) -> io::Result<ProxyHandle> {
    let listener = TcpListener::bind(config.listen).await?;
    let local_addr = listener.local_addr()?;
    start_proxy(&config, local_addr, |shared| tokio::spawn(accept(listener, shared)))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, which ends all connections.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((client, _)) if connections.len() < MAX_CONNECTIONS => {
                connections.spawn(relay(client, Arc::clone(&shared)));
            }
            Ok(_) => {
                tracing::warn!(limit = MAX_CONNECTIONS, "too many connections; refused one");
                shared.tally.refused();
            }
            Err(error) => {
                // Out of file descriptors, or a client that left at once: neither ends the proxy.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let links = FlowLinks::open(&shared);
    let upstream = match TcpStream::connect(shared.upstream).await {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::warn!(%error, upstream = %shared.upstream, "cannot connect to the upstream");
            return shared.tally.refused();
        }
    };
    match relay_both_ways(client, upstream, &links).await {
        Ok(()) => {}
        Err(Fault::Malformed(what)) => {
            tracing::warn!(what, "closed a connection that does not speak frames");
            shared.tally.malformed();
        }
        Err(Fault::Io(error)) => tracing::debug!(%error, "a connection broke"),
    }
}

/// Ends when both directions have ended, or at the first fault of either, which then breaks the other one too.
async fn relay_both_ways(client: TcpStream, upstream: TcpStream, links: &FlowLinks) -> Result<(), Fault> {
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (upstream_read, upstream_write) = upstream.into_split();
    let (up, at_upstream) = mpsc::unbounded_channel();
    let (down, at_client) = mpsc::unbounded_channel();
    tokio::try_join!(
        read_frames(client_read, links, Direction::Up, up),
        read_frames(upstream_read, links, Direction::Down, down),
        write_frames(upstream_write, at_upstream),
        write_frames(client_write, at_client),
    )?;
    Ok(())
}

/// Reads until the end of the stream and puts each frame into the link. The writer's channel closes when the last
/// frame under way has left the link: an end of stream is passed on in its place.
async fn read_frames(
    stream: OwnedReadHalf,
    links: &FlowLinks,
    direction: Direction,
    writer: mpsc::UnboundedSender<(Bytes, Credit)>,
) -> Result<(), Fault> {
    let shared = &links.shared;
    let credit = Arc::new(Semaphore::new(CREDIT));
    let mut stream = BufReader::with_capacity(READ_BUFFER, stream);
    while !stream.fill_buf().await?.is_empty() {
        let body_len = stream.read_u32().await.map_err(cut_off)? as usize;
        if body_len > MAX_FRAME {
            return Err(Fault::Malformed("a frame above 1 MiB"));
        }
        let credit = take_credit(&credit, body_len, shared).await;
        let mut frame = vec![0; PREFIX + body_len];
        frame[..PREFIX].copy_from_slice(&(body_len as u32).to_be_bytes());
        stream.read_exact(&mut frame[PREFIX..]).await.map_err(cut_off)?;
        let arrived = shared.clock.now();
        let size = ByteCount(frame.len() as u64);
        let parcel = Parcel {
            bytes: Bytes::from(frame),
            protected: PREFIX,
            to: Outlet::Writer(writer.clone()),
            credit: Arc::new(credit),
        };
        shared.pacer.send_packet(links.id(direction), arrived, parcel, size);
    }
    Ok(())
}

/// Waits while too much of this direction is under way; the sender then meets TCP's own flow control.
async fn take_credit(credit: &Arc<Semaphore>, len: usize, shared: &Shared) -> OwnedSemaphorePermit {
    if let Ok(permit) = Arc::clone(credit).try_acquire_many_owned(cost(len)) {
        return permit;
    }
    shared.tally.back_pressure();
    Arc::clone(credit).acquire_many_owned(cost(len)).await.expect("the semaphore is never closed")
}

/// Writes what the link lets out, many frames at once if they come at once; then passes on the end of the stream.
async fn write_frames(
    mut stream: OwnedWriteHalf,
    mut frames: mpsc::UnboundedReceiver<(Bytes, Credit)>,
) -> Result<(), Fault> {
    let mut batch = Vec::with_capacity(FRAMES_AT_ONCE);
    let mut buffer = Vec::new();
    while frames.recv_many(&mut batch, FRAMES_AT_ONCE).await > 0 {
        if let [(single, _)] = batch.as_slice() {
            stream.write_all(single).await?;
        } else {
            batch.iter().for_each(|(frame, _)| buffer.extend_from_slice(frame));
            stream.write_all(&buffer).await?;
            buffer.clear();
        }
        // Only now is the credit given back.
        batch.clear();
    }
    stream.shutdown().await?;
    Ok(())
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// The peer does not speak frames.
    #[error("{0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn cut_off(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::Malformed("a stream that ended within a frame"),
        _ => Fault::Io(error),
    }
}

/// Length of the length.
const PREFIX: usize = 4;

/// Longest body, in bytes. What is above is taken for something that is not frames.
pub const MAX_FRAME: usize = 1 << 20;

/// Bytes of one direction of a connection that may be under way, copies not counted: four of the largest frames, or
/// 100 ms at 300 Mbit/s. Beyond it the sender is not read.
const CREDIT: usize = 4 << 20;

/// Enough for what usually waits; two of them for each connection.
const READ_BUFFER: usize = 16 << 10;

const FRAMES_AT_ONCE: usize = 64;

/// Connections at a time. Ten times what a load test on one machine opens; each costs two file descriptors.
const MAX_CONNECTIONS: usize = 10_000;

/// After a failed accept, so that a lack of file descriptors does not turn into a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
