//! TCP: the accept loop, and a reader and a writer task for each connection.
//!
//! Closing takes three steps, because a socket that is closed while bytes wait unread answers with a reset, and a reset
//! can destroy the error frame on its way to the peer: the writer sends what is queued and ends the stream, the reader
//! throws away what still comes, and only then (or when a limit is reached) the socket goes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::driver::Input;
use crate::engine::PeerId;

/// The driver's end of one connection. Dropping it closes the connection after what was queued.
#[derive(Debug)]
pub(crate) struct StreamSink {
    frames: mpsc::UnboundedSender<Bytes>,
    /// Bytes in the queue and in the write under way.
    queued: Arc<AtomicUsize>,
    /// Tells both tasks to finish, by being dropped.
    _open: watch::Sender<()>,
}

/// Why a connection takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Broken,
}

/// An accepted connection and its share of the limit on open sockets.
#[derive(Debug)]
pub(crate) struct Accepted {
    stream: Greeted,
    /// For people: what it speaks, and from where.
    pub(crate) address: String,
    permit: OwnedSemaphorePermit,
}

/// A connection whose first byte has told what it speaks, where there is a choice.
#[derive(Debug)]
enum Greeted {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl StreamSink {
    /// Starts the two tasks of a connection.
    pub(crate) fn start(accepted: Accepted, peer: PeerId, inputs: mpsc::Sender<Input>) -> Self {
        let Accepted { stream, permit, .. } = accepted;
        match stream {
            Greeted::Plain(stream) => Self::start_halves(stream.into_split(), permit, peer, inputs),
            Greeted::Tls(stream) => Self::start_halves(tokio::io::split(*stream), permit, peer, inputs),
        }
    }

    fn start_halves<R, W>(
        (read_half, write_half): (R, W),
        permit: OwnedSemaphorePermit,
        peer: PeerId,
        inputs: mpsc::Sender<Input>,
    ) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (frames, queue) = mpsc::unbounded_channel();
        let (open, closing) = watch::channel(());
        let queued = Arc::new(AtomicUsize::new(0));
        let permit = Arc::new(permit);
        let reader_permit = Arc::clone(&permit);
        let reader_closing = closing.clone();
        tokio::spawn(async move {
            read(read_half, peer, inputs, reader_closing).await;
            drop(reader_permit);
        });
        let level = Arc::clone(&queued);
        tokio::spawn(async move {
            write(write_half, queue, level, closing).await;
            drop(permit);
        });
        Self { frames, queued, _open: open }
    }

    pub(crate) fn push(&self, bytes: Bytes) -> Result<(), PushError> {
        let size = bytes.len();
        // Only this side adds, so the level cannot pass the limit between the check and the addition.
        if self.queued.load(Ordering::Relaxed) + size > WRITE_QUEUE_BYTES {
            return Err(PushError::Full);
        }
        self.queued.fetch_add(size, Ordering::Relaxed);
        self.frames.send(bytes).map_err(|_| PushError::Broken)
    }
}

/// Binds a listening socket. Must run inside a tokio runtime.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes over a socket that listens already. Must run inside a tokio runtime.
pub(crate) fn adopt(listener: &std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener.try_clone()?)
}

/// Accepts connections for ever. `sockets` bounds how many are open, those that are closing included.
pub(crate) async fn accept(
    listener: TcpListener,
    inputs: mpsc::Sender<Input>,
    sockets: Arc<Semaphore>,
    acceptor: Option<TlsAcceptor>,
) {
    loop {
        let Ok(permit) = Arc::clone(&sockets).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, from)) => {
                // Frames are small and wait for nobody; Nagle's algorithm would hold them back for an ack.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%from, %error, "TCP_NODELAY");
                }
                if let Some(acceptor) = &acceptor {
                    // Whether it speaks TLS is known with its first byte, and nobody else should wait for that.
                    tokio::spawn(greet(stream, from, permit, acceptor.clone(), inputs.clone()));
                    continue;
                }
                let accepted =
                    Accepted { stream: Greeted::Plain(stream), address: format!("tcp {from}"), permit };
                if inputs.send(Input::Accepted(accepted)).await.is_err() {
                    return;
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors or memory: the waiting connections stay in the backlog meanwhile.
                tracing::warn!(%error, "cannot accept a connection; trying again");
                if inputs.send(Input::AcceptFailed).await.is_err() {
                    return;
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Waits for the first byte of a connection and, where that begins a handshake of TLS, for the end of that.
async fn greet(
    stream: TcpStream,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
    acceptor: TlsAcceptor,
    inputs: mpsc::Sender<Input>,
) {
    let greeting = async {
        let mut first = [0];
        let is_tls = stream.peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE;
        if !is_tls {
            return Ok((Greeted::Plain(stream), format!("tcp {from}")));
        }
        let stream = acceptor.accept(stream).await?;
        io::Result::Ok((Greeted::Tls(Box::new(stream)), format!("tls {from}")))
    };
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(GREETING_LIMIT, greeting) => outcome,
        () = inputs.closed() => return,
    };
    let input = match outcome {
        Ok(Ok((stream, address))) => Input::Accepted(Accepted { stream, address, permit }),
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "a connection did not get through its handshake");
            Input::HandshakeFailed
        }
        Err(_) => {
            tracing::debug!(%from, "a connection did not finish its handshake in time");
            Input::HandshakeFailed
        }
    };
    // The driver is gone only when the server stops.
    let _ = inputs.send(input).await;
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn read<R: AsyncRead + Unpin>(
    mut stream: R,
    peer: PeerId,
    inputs: mpsc::Sender<Input>,
    mut closing: watch::Receiver<()>,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        let read = tokio::select! {
            read = stream.read_buf(&mut buffer) => read,
            () = closed(&mut closing) => break,
        };
        let input = match read {
            Ok(1..) => Input::Bytes { peer, bytes: buffer.split().freeze() },
            Ok(0) | Err(_) => Input::Closed { peer },
        };
        let ended = matches!(input, Input::Closed { .. });
        tokio::select! {
            sent = inputs.send(input) => if ended || sent.is_err() { return },
            () = closed(&mut closing) => break,
        }
    }
    // An error or the end means that the peer has nothing more to lose; the limit, that it does not care.
    let _ = tokio::time::timeout(LINGER, discard(&mut stream, buffer)).await;
}

async fn discard<R: AsyncRead + Unpin>(stream: &mut R, mut buffer: BytesMut) {
    loop {
        buffer.clear();
        buffer.reserve(CHUNK_BYTES);
        if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(
    mut stream: W,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
    queued: Arc<AtomicUsize>,
    mut closing: watch::Receiver<()>,
) {
    let pump = async {
        let mut batch = Vec::new();
        let mut buffer = Vec::new();
        while frames.recv_many(&mut batch, FRAMES_A_WRITE).await > 0 {
            buffer.clear();
            for frame in batch.drain(..) {
                buffer.extend_from_slice(&frame);
            }
            stream.write_all(&buffer).await?;
            // TLS may hold back what the socket did not take at once.
            stream.flush().await?;
            queued.fetch_sub(buffer.len(), Ordering::Relaxed);
        }
        stream.shutdown().await
    };
    let limit = async {
        closed(&mut closing).await;
        tokio::time::sleep(FLUSH_LIMIT).await;
    };
    tokio::select! {
        outcome = pump => if let Err(error) = outcome {
            tracing::debug!(%error, "a connection broke while it was written to");
        },
        () = limit => tracing::debug!("a connection did not take its last bytes in time"),
    }
}

/// Comes back when the driver has dropped its end.
async fn closed(closing: &mut watch::Receiver<()>) {
    while closing.changed().await.is_ok() {}
}

/// Bytes that may wait for one slow socket: twice what the protocol's receive window lets a peer leave unread, so only
/// acks and retransmissions on top of full windows can reach it.
const WRITE_QUEUE_BYTES: usize = 2 << 20;
/// Bytes read at once, and so the most that one connection puts into one turn of the engine.
const CHUNK_BYTES: usize = 16 << 10;
/// Frames joined into one write: about 64 KiB of full segments, one system call.
const FRAMES_A_WRITE: usize = 64;
/// Connections that the kernel holds until they are accepted. Linux caps it at `net.core.somaxconn` (4096).
const BACKLOG: u32 = 1024;
/// How long the last frames of a closed connection may take to be written.
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// How long what a peer still sends is thrown away before its socket is closed.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection may take to its first byte, and through its handshake: as long as to its `hello`.
const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// The first byte of TLS: the content type of a handshake record (RFC 8446 section 5.1). No frame is long enough to begin
/// with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// Pause after an accept that failed for want of resources.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_write_queue_is_an_error_at_its_bound() {
        let (sink, _peer, _inputs) = connection().await;
        let chunk = Bytes::from(vec![0; 1 << 10]);
        // Nothing is awaited here, so the writer task does not run and the queue only grows.
        let taken = (0..).take_while(|_| sink.push(chunk.clone()).is_ok()).count();
        assert_eq!(taken << 10, WRITE_QUEUE_BYTES);
        assert_eq!(sink.push(chunk), Err(PushError::Full));
    }

    #[tokio::test]
    async fn what_was_queued_is_written_before_the_stream_ends() {
        let (sink, mut peer, _inputs) = connection().await;
        for number in 0..100 {
            sink.push(Bytes::from(vec![number; 1000])).unwrap();
        }
        drop(sink);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!((received.len(), received.last()), (100_000, Some(&99)));
    }

    #[tokio::test]
    async fn a_peer_that_ends_its_stream_is_reported_after_its_last_bytes() {
        let (_sink, mut peer, mut inputs) = connection().await;
        peer.write_all(b"last words").await.unwrap();
        peer.shutdown().await.unwrap();
        let mut heard = Vec::new();
        while let Some(Input::Bytes { bytes, .. }) = inputs.recv().await {
            heard.extend_from_slice(&bytes);
        }
        assert_eq!(heard, b"last words");
    }

    async fn connection() -> (StreamSink, TcpStream, mpsc::Receiver<Input>) {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, from) = listener.accept().await.unwrap();
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let (sender, inputs) = mpsc::channel(4);
        let accepted = Accepted { stream: Greeted::Plain(stream), address: from.to_string(), permit };
        (StreamSink::start(accepted, PeerId(1), sender), peer, inputs)
    }
}
