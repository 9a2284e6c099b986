//! The socket of the API, with bounds: on connections, and on how long one may say nothing.
//!
//! `axum::serve` has neither, and clients that open connections and forget them would in time take every descriptor from
//! the proxies.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Accepts at most [`MAX_CONNECTIONS`] at once; further ones wait in the kernel's queue.
#[derive(Debug)]
pub(super) struct BoundedListener {
    listener: TcpListener,
    connections: Arc<Semaphore>,
}

/// A connection that ends when nothing moves for [`SILENCE_LIMIT`].
#[derive(Debug)]
pub(super) struct BoundedStream {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl BoundedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        let permit = Arc::clone(&self.connections).acquire_owned().await;
        let permit = permit.expect("nobody closes this semaphore");
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Answers are small and waited for; what fails here shows at the first write.
                    let _ = stream.set_nodelay(true);
                    let silence = Box::pin(tokio::time::sleep(SILENCE_LIMIT));
                    return (BoundedStream { stream, silence, _permit: permit }, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the API");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl BoundedStream {
    /// What an operation becomes: an error, if it is pending and nothing has moved for too long.
    fn bounded<T>(&mut self, done: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.silence.as_mut().set(tokio::time::sleep(SILENCE_LIMIT));
            return done;
        }
        match self.silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.bounded(done, context)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(done, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A parallel test suite has some tens.
const MAX_CONNECTIONS: usize = 256;

/// As Toxiproxy's for idle connections.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// After a failed accept, so that a lack of file descriptors does not turn into a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
