//! One client: a session, a socket, and a log of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use chat_client::net::{Dial, Socket, wait};
use chat_client::session::{MessageId, Session, SessionConfig, SessionEvent};
use chat_client::tls::Security;
use chat_core::connection::Delivery;
use chat_core::trace::TraceEvent;
use tokio::sync::mpsc;
use units::{Clock, Timestamp};

use super::ears::Ears;
use crate::backend::{Cast, EndRecord, arrival, heard, submit, turned_away};
use crate::seen::Seen;
use crate::workload::Intent;

/// What the director wants of a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Send(Intent),
    Stop,
}

/// What the director hears of a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Report {
    /// It is in its room for the first time.
    Joined,
    /// A message was acknowledged, failed or not taken.
    Settled(u32),
}

/// What one client keeps until the end; what it sees meanwhile goes to the recorder.
#[derive(Debug)]
pub(super) struct ClientLog {
    pub(super) traces: Vec<TraceEvent>,
    pub(super) waits_forgotten: u64,
    pub(super) problems: Vec<String>,
    pub(super) end: EndRecord,
}

impl ClientLog {
    pub(super) fn new(end: EndRecord) -> Self {
        Self { traces: Vec::new(), waits_forgotten: 0, problems: Vec::new(), end }
    }
}

/// What a client needs to begin.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) index: u32,
    pub(super) server: SocketAddr,
    /// Where its streams begin, unless that is here.
    pub(super) dial: Option<Dial>,
    pub(super) config: SessionConfig,
    /// `None`: nothing is encrypted.
    pub(super) security: Option<Security>,
    /// By the index of a workload.
    pub(super) deliveries: Arc<[Delivery]>,
    pub(super) start_at: Timestamp,
    pub(super) is_traced: bool,
    /// Whether somebody can put together with the server's what this end knows of waits.
    pub(super) tells_waits: bool,
    pub(super) cast: Arc<Cast>,
    pub(super) clock: Clock,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) reports: Sender<Report>,
    pub(super) ears: Arc<Ears>,
}

impl Setup {
    fn tell(&self, seen: Seen) {
        self.ears.tell(self.index, seen);
    }
}

pub(super) async fn run(mut setup: Setup) -> ClientLog {
    wait(Some(setup.start_at), setup.clock).await;
    let clock = setup.clock;
    let mut socket = Socket::new(setup.server, setup.config.carrier);
    if let Some(dial) = setup.dial.take() {
        socket = socket.dialling(dial);
    }
    if let Some(security) = setup.security.clone() {
        socket = socket.secured(security, clock);
    }
    let mut session = Session::new(clock.now(), setup.config.clone());
    session.set_tracing(setup.is_traced);
    session.set_wait_tracing(setup.tells_waits);
    session.start(clock.now());
    setup.tell(Seen::Connecting { client: setup.index, at: clock.now() });
    let mut client = Client {
        log: ClientLog::new(EndRecord::of(&session, 0)),
        is_welcome: false,
        is_in_room: false,
        ids: BTreeMap::new(),
    };
    loop {
        client.drain(&setup, &mut session);
        socket.act(&mut session, clock).await;
        client.drain(&setup, &mut session);
        if session.is_closed() {
            break;
        }
        tokio::select! {
            input = socket.input() => socket.feed(input, &mut session, clock.now()),
            order = setup.orders.recv() => match order {
                Some(Order::Send(intent)) => client.send(&setup, &mut session, intent),
                Some(Order::Stop) | None => break,
            },
            () = wait(session.poll_timeout(), clock) => session.handle_timeout(clock.now()),
        }
    }
    client.log.end = EndRecord::of(&session, client.log.end.cwnd_max);
    client.log.waits_forgotten = session.waits_forgotten();
    session.quit(clock.now());
    // The server need not wait for this client any more; if the path is gone, it will find out.
    let _ = tokio::time::timeout(GOODBYE, socket.act(&mut session, clock)).await;
    client.log
}

struct Client {
    log: ClientLog,
    is_welcome: bool,
    is_in_room: bool,
    /// Message ids of the schedule, by the session's.
    ids: BTreeMap<MessageId, u32>,
}

impl Client {
    fn drain(&mut self, setup: &Setup, session: &mut Session) {
        while let Some(event) = session.poll_event() {
            self.on_event(setup, session, event);
        }
        if setup.is_traced {
            self.log.traces.extend(std::iter::from_fn(|| session.poll_trace()));
        }
        while let Some(waited) = session.poll_wait() {
            setup.ears.waited(setup.index, waited);
        }
        let cwnd = session.connection().metrics().cwnd.as_u64();
        self.log.end.cwnd_max = self.log.end.cwnd_max.max(cwnd);
    }

    fn on_event(&mut self, setup: &Setup, session: &mut Session, event: SessionEvent) {
        let now = setup.clock.now();
        if let Some(text) = heard(&event) {
            setup.tell(Seen::Arrived(arrival(setup.index, now, text)));
            return;
        }
        match event {
            SessionEvent::Connected { .. } if !self.is_welcome => {
                self.is_welcome = true;
                setup.tell(Seen::Connected { client: setup.index, at: now, is_resumed: false });
                if let Err(error) = session.join(now, &setup.cast.room(setup.index)) {
                    self.log.problems.push(format!("client {}: cannot join: {error}", setup.index));
                }
            }
            SessionEvent::Joined(_) if !self.is_in_room => {
                self.is_in_room = true;
                self.report(setup, Report::Joined);
            }
            SessionEvent::Acked(id) => {
                if let Some(message) = self.ids.remove(&id) {
                    setup.tell(Seen::Acked { message, at: now });
                    self.report(setup, Report::Settled(message));
                }
            }
            SessionEvent::Failed(id) => {
                if let Some(message) = self.ids.remove(&id) {
                    setup.tell(Seen::Failed { message, at: now });
                    self.report(setup, Report::Settled(message));
                }
            }
            SessionEvent::Closed(why) => {
                self.log.problems.push(turned_away(setup.index, &why));
            }
            // A fatal error ends a carrier; the session tries another.
            SessionEvent::Error(error) if !error.fatal => {
                self.log.problems.push(format!("client {} got an error: {}", setup.index, error.text));
            }
            _ => {}
        }
    }

    fn send(&mut self, setup: &Setup, session: &mut Session, intent: Intent) {
        let now = setup.clock.now();
        let outcome =
            submit(session, now, &setup.cast, &intent, setup.deliveries[usize::from(intent.workload)]);
        match outcome {
            Ok(id) => {
                self.ids.insert(id, intent.id);
                if setup.tells_waits {
                    setup.ears.name(setup.index, intent.id, id);
                }
                setup.tell(Seen::Submitted { message: intent.id, at: now });
            }
            Err(_) => {
                setup.tell(Seen::Refused { message: intent.id });
                self.report(setup, Report::Settled(intent.id));
            }
        }
    }

    fn report(&self, setup: &Setup, report: Report) {
        // The director listens until it has told everyone to stop.
        let _ = setup.reports.send(report);
    }
}

const GOODBYE: Duration = Duration::from_millis(500);
