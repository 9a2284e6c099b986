//! Sockets around a session, and the handle that other programs use.
//!
//! [`Socket`] moves bytes between one session and one carrier, tells it the time, and decides nothing.
//! [`Client`] runs it in a task and speaks with it through channels.

mod alarm;
mod datagrams;

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chat_core::SendError;
use chat_core::secure::{Channel, SecureError, explain};
use chat_core::wire::datagram;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use units::{Clock, Timestamp};

pub use alarm::Alarm;
use datagrams::Datagrams;

use crate::session::{CarrierKind, MessageId, Output, Session, SessionConfig, SessionEvent};
use crate::tls::Security;

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    pub server: SocketAddr,
    pub session: SessionConfig,
    /// Encrypts the carrier. With it, datagrams have to be of the kind [`CarrierKind::SealedDatagram`].
    pub security: Option<Security>,
    pub clock: Clock,
}

/// A session that runs in a task of its own.
#[derive(Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<(Timestamp, SessionEvent)>,
}

/// Something to do with the session, at the time it is carried out.
type Command = Box<dyn FnOnce(&mut Session, Timestamp) + Send>;

/// The session is over; its last event said why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is over")]
pub struct Ended;

impl Client {
    /// Starts a session. It connects, and connects again, until it is told to quit or is refused; watch the events.
    #[must_use]
    pub fn start(config: ClientConfig) -> Self {
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (event_queue, events) = mpsc::channel(EVENTS);
        tokio::spawn(run(config, command_queue, event_queue));
        Self { commands, events }
    }

    /// The next event; `None` after the last.
    pub async fn event(&mut self) -> Option<(Timestamp, SessionEvent)> {
        self.events.recv().await
    }

    /// Calls `act` on the session, in its task.
    pub async fn with(
        &self,
        act: impl FnOnce(&mut Session, Timestamp) + Send + 'static,
    ) -> Result<(), Ended> {
        self.commands.send(Box::new(act)).await.map_err(|_| Ended)
    }

    /// Calls a submitting method of the session and returns its outcome.
    pub async fn submit(
        &self,
        act: impl FnOnce(&mut Session, Timestamp) -> Result<MessageId, SendError> + Send + 'static,
    ) -> Result<Result<MessageId, SendError>, Ended> {
        let (answer, outcome) = tokio::sync::oneshot::channel();
        self.with(move |session, now| drop(answer.send(act(session, now)))).await?;
        outcome.await.map_err(|_| Ended)
    }
}

async fn run(
    config: ClientConfig,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<(Timestamp, SessionEvent)>,
) {
    let clock = config.clock;
    let mut session = Session::new(clock.now(), config.session.clone());
    session.start(clock.now());
    let mut socket = Socket::new(config.server, config.session.carrier);
    if let Some(security) = config.security {
        socket = socket.secured(security, clock);
    }
    let mut alarm = Alarm::new(clock);
    loop {
        // Act on the outputs, and drain; acting may have told the session of a broken carrier.
        socket.act(&mut session, clock).await;
        hand_on(&mut session, &events, clock).await;
        socket.act(&mut session, clock).await;
        if session.is_closed() {
            hand_on(&mut session, &events, clock).await;
            return;
        }
        // Wait for one input and feed it.
        tokio::select! {
            input = socket.input() => socket.feed(input, &mut session, clock.now()),
            command = commands.recv() => match command {
                Some(act) => act(&mut session, clock.now()),
                None => session.quit(clock.now()),
            },
            () = alarm.ring(session.poll_timeout()) => session.handle_timeout(clock.now()),
        }
    }
}

/// Gives every event to the program. A full queue stops the reading, and with it the receive window.
async fn hand_on(session: &mut Session, events: &mpsc::Sender<(Timestamp, SessionEvent)>, clock: Clock) {
    while let Some(event) = session.poll_event() {
        if events.send((clock.now(), event)).await.is_err() {
            // Nobody listens any more.
            session.quit(clock.now());
        }
    }
}

/// Sleeps until `deadline`, or for ever without one.
pub async fn wait(deadline: Option<Timestamp>, clock: Clock) {
    match deadline {
        Some(at) => sleep_until(clock.instant(at).into()).await,
        None => pending().await,
    }
}

/// Makes the sockets of streams, each before it connects: in another network namespace, or with options of its own.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn() -> io::Result<TcpSocket> + Send + Sync>);

impl Dial {
    pub fn new(make: impl Fn() -> io::Result<TcpSocket> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

/// The one carrier of a session: closed, being opened, or open.
#[derive(Debug)]
pub struct Socket {
    server: SocketAddr,
    kind: CarrierKind,
    dial: Option<Dial>,
    link: Link,
    /// What TLS has read; empty without.
    buffer: Vec<u8>,
    /// Bytes that wait to be written to a stream; its windows keep this small.
    unwritten: Vec<u8>,
    /// TLS may hold bytes that the socket has not taken.
    unflushed: bool,
    security: Option<(Security, Clock)>,
    /// Of the present datagram carrier, once something was to be sent.
    channel: Option<Channel>,
    /// Datagrams of former carriers that the kernel dropped.
    past_drops: u64,
}

thread_local! {
    /// What one read of a plain stream brought, for as long as it takes to hand it on. One a thread and not one a socket:
    /// a program may have tens of thousands of idle ones.
    static CHUNK: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK_BYTES]);
}

enum Link {
    Closed,
    /// Opening may take seconds; meanwhile the driver goes on with commands and timers.
    Opening(Pin<Box<dyn Future<Output = io::Result<Opened>> + Send>>),
    Stream(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Datagram(Box<Datagrams>),
}

/// A carrier that was just opened.
#[derive(Debug)]
pub struct Opened(OpenLink);

#[derive(Debug)]
enum OpenLink {
    Stream(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Datagram(Box<Datagrams>),
}

/// What a socket gave.
#[derive(Debug)]
pub enum Input {
    Opened(Opened),
    /// The next bytes of a stream are there to be read.
    Readable,
    /// The next bytes of TLS, so many.
    Bytes(usize),
    /// Datagrams are there to be read.
    Datagrams,
    Broken(String),
    /// The server is not who it should be.
    Untrusted(String),
    /// Written, nothing to feed.
    Progress,
    /// The secure channel wants to be woken.
    ChannelDue,
}

impl Socket {
    #[must_use]
    pub fn new(server: SocketAddr, kind: CarrierKind) -> Self {
        Self {
            server,
            kind,
            dial: None,
            link: Link::Closed,
            buffer: Vec::new(),
            unwritten: Vec::new(),
            unflushed: false,
            security: None,
            channel: None,
            past_drops: 0,
        }
    }

    /// Datagrams that the kernel dropped because this program did not read them in time; 0 for streams.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        self.past_drops + self.link.kernel_drops()
    }

    /// Its streams begin with sockets of `dial`.
    #[must_use]
    pub fn dialling(mut self, dial: Dial) -> Self {
        self.dial = Some(dial);
        self
    }

    /// Encrypts what it carries: TLS on a stream, a secure channel over datagrams.
    #[must_use]
    pub fn secured(mut self, security: Security, clock: Clock) -> Self {
        self.security = Some((security, clock));
        self
    }

    /// Carries out what the session asks for, until it asks for nothing.
    pub async fn act(&mut self, session: &mut Session, clock: Clock) {
        while let Some(output) = session.poll_output() {
            match output {
                Output::Connect => {
                    self.unwritten.clear();
                    self.unflushed = false;
                    self.channel = None;
                    self.past_drops += self.link.kernel_drops();
                    let security = self.security.as_ref().map(|(security, _)| security.clone());
                    self.link =
                        Link::Opening(Box::pin(open(self.server, self.kind, self.dial.clone(), security)));
                }
                Output::Transmit(bytes) => match &mut self.link {
                    Link::Stream(_) | Link::Tls(_) => self.unwritten.extend_from_slice(&bytes),
                    Link::Datagram(_) if self.security.is_some() => {
                        self.seal(&bytes, clock.now());
                        self.flush_channel(session, clock.now()).await;
                    }
                    Link::Datagram(datagrams) => datagrams.push(bytes, session.connection().codepoint()),
                    Link::Closed | Link::Opening(_) => {}
                },
                Output::Close => self.close().await,
            }
        }
        if let Link::Datagram(datagrams) = &mut self.link {
            datagrams.flush().await;
        }
        if self.channel.is_some() {
            self.flush_channel(session, clock.now()).await;
        }
        if let Err(error) = self.write() {
            self.link = Link::Closed;
            session.on_disconnected(clock.now(), &format!("connection to {} broke: {error}", self.server));
        }
    }

    /// Waits until the socket has something to tell.
    pub async fn input(&mut self) -> Input {
        match &mut self.link {
            Link::Closed => pending().await,
            Link::Opening(opening) => match opening.await {
                Ok(opened) => Input::Opened(opened),
                Err(error) => refused(self.server, &error),
            },
            Link::Datagram(datagrams) => {
                let deadline = self.channel.as_ref().and_then(Channel::poll_timeout);
                let due = async {
                    match &self.security {
                        Some((_, clock)) => wait(deadline, *clock).await,
                        None => pending().await,
                    }
                };
                tokio::select! {
                    received = datagrams.readable() => match received {
                        Ok(()) => Input::Datagrams,
                        Err(error) => Input::Broken(error.to_string()),
                    },
                    () = due => Input::ChannelDue,
                }
            }
            Link::Tls(stream) => {
                let (mut reader, mut writer) = tokio::io::split(&mut **stream);
                let wants_writing = self.unflushed || !self.unwritten.is_empty();
                tokio::select! {
                    read = reader.read(&mut self.buffer) => match read {
                        Ok(0) => Input::Broken("closed by the server".to_owned()),
                        Ok(length) => Input::Bytes(length),
                        Err(error) => Input::Broken(error.to_string()),
                    },
                    // Either step is done whole or not at all if the other branch wins.
                    written = write_some(&mut writer, &self.unwritten), if wants_writing => match written {
                        Ok(length) => {
                            self.unflushed = length > 0;
                            self.unwritten.drain(..length);
                            Input::Progress
                        }
                        Err(error) => Input::Broken(error.to_string()),
                    },
                }
            }
            Link::Stream(stream) => {
                let wants_writing = !self.unwritten.is_empty();
                tokio::select! {
                    readable = stream.readable() => match readable {
                        Ok(()) => Input::Readable,
                        Err(error) => Input::Broken(error.to_string()),
                    },
                    writable = stream.writable(), if wants_writing => match writable {
                        Ok(()) => Input::Progress,
                        Err(error) => Input::Broken(error.to_string()),
                    },
                }
            }
        }
    }

    /// Feeds what [`Self::input`] gave.
    pub fn feed(&mut self, input: Input, session: &mut Session, now: Timestamp) {
        match input {
            Input::Opened(Opened(link)) => {
                if let OpenLink::Datagram(datagrams) = &link
                    && datagrams.is_capable()
                {
                    session.on_capable_socket();
                }
                self.link = match link {
                    OpenLink::Stream(stream) => Link::Stream(stream),
                    OpenLink::Tls(stream) => {
                        self.buffer.resize(CHUNK_BYTES, 0);
                        Link::Tls(stream)
                    }
                    OpenLink::Datagram(datagrams) => Link::Datagram(datagrams),
                };
                session.on_connected(now);
            }
            Input::Readable => self.feed_stream(session, now),
            Input::Datagrams => self.feed_datagrams(session, now),
            Input::Bytes(length) => session.handle_bytes(now, &self.buffer[..length]),
            Input::ChannelDue => {
                if let Some(channel) = &mut self.channel {
                    channel.handle_timeout(now);
                }
            }
            Input::Untrusted(reason) => {
                self.link = Link::Closed;
                session.on_untrusted(&reason);
            }
            Input::Broken(reason) => {
                self.link = Link::Closed;
                session.on_disconnected(now, &reason);
            }
            Input::Progress => {}
        }
    }

    fn feed_stream(&mut self, session: &mut Session, now: Timestamp) {
        let Link::Stream(stream) = &self.link else {
            return;
        };
        let reason = CHUNK.with_borrow_mut(|chunk| match stream.try_read(chunk) {
            Ok(0) => Some("closed by the server".to_owned()),
            Ok(length) => {
                session.handle_bytes(now, &chunk[..length]);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(error.to_string()),
        });
        if let Some(reason) = reason {
            self.link = Link::Closed;
            session.on_disconnected(now, &reason);
        }
    }

    fn feed_datagrams(&mut self, session: &mut Session, now: Timestamp) {
        let Link::Datagram(datagrams) = &mut self.link else {
            return;
        };
        let (channel, is_secure) = (&mut self.channel, self.security.is_some());
        let outcome = datagrams.feed(|ecn, bytes| match channel {
            Some(channel) => {
                channel.handle_datagram(now, bytes);
                while let Some(plain) = channel.poll_datagram() {
                    session.handle_datagram(now, ecn, &plain);
                }
            }
            // What is not encrypted is not the server's, whatever it says.
            None if is_secure => {}
            None => session.handle_datagram(now, ecn, bytes),
        });
        // A port that is closed is no reason to give up: nobody listens there now, and the session's own timers decide.
        if let Err(error) = outcome
            && error.kind() != io::ErrorKind::ConnectionRefused
        {
            self.past_drops += self.link.kernel_drops();
            self.link = Link::Closed;
            session.on_disconnected(now, &error.to_string());
        }
    }

    /// A plain datagram for the secure channel; the first begins its handshake.
    fn seal(&mut self, plain: &[u8], now: Timestamp) {
        if self.channel.is_none()
            && let Some((security, _)) = &self.security
            && let Ok((id, _)) = datagram::split(plain)
        {
            let (config, name) = (Arc::clone(&security.config), security.name.clone());
            match Channel::client(now, config, name, id) {
                Ok(channel) => self.channel = Some(channel),
                Err(error) => tracing::error!(%error, "a secure channel cannot be begun"),
            }
        }
        if let Some(channel) = &mut self.channel {
            channel.send(plain);
        }
    }

    /// Sends what the secure channel has for the socket, and tells the session if it has failed.
    async fn flush_channel(&mut self, session: &mut Session, now: Timestamp) {
        let (Some(channel), Link::Datagram(datagrams)) = (&mut self.channel, &mut self.link) else {
            return;
        };
        while let Some(datagram) = channel.poll_transmit(now) {
            datagrams.push(datagram, session.connection().codepoint());
        }
        datagrams.flush().await;
        let Some(error) = channel.error() else {
            return;
        };
        let reason = format!("cannot speak securely with {}: {error}", self.server);
        let is_final = error.is_final();
        self.channel = None;
        self.link = Link::Closed;
        if is_final {
            session.on_untrusted(&reason);
        } else {
            session.on_disconnected(now, &reason);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Link::Stream(stream) = &self.link else {
            return Ok(());
        };
        while !self.unwritten.is_empty() {
            match stream.try_write(&self.unwritten) {
                Ok(written) => drop(self.unwritten.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes after what was written, within a bound.
    async fn close(&mut self) {
        let unwritten = std::mem::take(&mut self.unwritten);
        match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Stream(stream) => finish(stream, &unwritten).await,
            Link::Tls(stream) => finish(stream, &unwritten).await,
            Link::Datagram(mut datagrams) => datagrams.flush().await,
            Link::Closed | Link::Opening(_) => {}
        }
    }
}

/// The peer may be the one that broke it; then there is nothing left to save.
async fn finish(mut stream: impl AsyncWrite + Unpin, unwritten: &[u8]) {
    let _ = timeout(CLOSE_TIMEOUT, async {
        stream.write_all(unwritten).await?;
        stream.shutdown().await
    })
    .await;
}

/// Writes a part of `bytes`; without any, flushes what was written before.
async fn write_some(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() { stream.flush().await.map(|()| 0) } else { stream.write(bytes).await }
}

/// Why a carrier was not opened. A server that is not believed is not asked again.
fn refused(server: SocketAddr, error: &io::Error) -> Input {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(tls) => {
            let reason = format!("cannot speak securely with {server}: {}", explain(tls));
            let is_final = SecureError::from(tls.clone()).is_final();
            if is_final { Input::Untrusted(reason) } else { Input::Broken(reason) }
        }
        None => Input::Broken(format!("cannot connect to {server}: {error}")),
    }
}

async fn open(
    server: SocketAddr,
    kind: CarrierKind,
    dial: Option<Dial>,
    security: Option<Security>,
) -> io::Result<Opened> {
    Ok(Opened(match kind {
        CarrierKind::Stream => {
            let connecting = timeout(CONNECT_TIMEOUT, async {
                match dial {
                    Some(dial) => (dial.0)()?.connect(server).await,
                    None => TcpStream::connect(server).await,
                }
            });
            let stream = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            stream.set_nodelay(true)?;
            match security {
                Some(Security { config, name }) => {
                    let handshake =
                        timeout(CONNECT_TIMEOUT, TlsConnector::from(config).connect(name, stream));
                    let stream = handshake.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                    OpenLink::Tls(Box::new(stream))
                }
                None => OpenLink::Stream(stream),
            }
        }
        CarrierKind::Datagram | CarrierKind::SealedDatagram => {
            OpenLink::Datagram(Box::new(Datagrams::open(server)?))
        }
    }))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Link::Closed => "Closed",
            Link::Opening(_) => "Opening",
            Link::Stream(_) => "Stream",
            Link::Tls(_) => "Tls",
            Link::Datagram(_) => "Datagram",
        })
    }
}

impl Link {
    fn kernel_drops(&self) -> u64 {
        if let Self::Datagram(datagrams) = self { datagrams.kernel_drops() } else { 0 }
    }
}

/// Read at once from a stream: as much as the kernel keeps for an ordinary connection.
const CHUNK_BYTES: usize = 65_536;
/// Commands waiting for the session; more make the caller wait.
const COMMANDS: usize = 64;
/// Events waiting for the program; at the bound the session stops reading.
const EVENTS: usize = 1024;
/// Shorter than the session's own patience, so that its message is the system's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
