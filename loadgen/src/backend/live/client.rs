//! One client: a session, a socket, and a log of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chat_client::net::{Alarm, Dial, Socket};
use chat_client::session::{Session, SessionConfig};
use chat_client::tls::Security;
use chat_core::connection::{Delivery, Stats};
use tokio::sync::mpsc;
use units::{Clock, Timestamp};

use super::ears::Ears;
use super::reports::Reports;
use crate::backend::actor::{Actor, Comeback, Happening, seed_again};
use crate::backend::{Cast, EndRecord, Traces};
use crate::record::Side;
use crate::seen::Seen;
use crate::workload::Intent;

/// What the director wants of a client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Send(Intent),
    /// `is_abrupt`: without a word to the server.
    Leave {
        is_abrupt: bool,
    },
    Return,
    Stop,
}

/// What one client keeps until the end; what it sees meanwhile goes to the recorder.
#[derive(Debug)]
pub(super) struct ClientLog {
    pub(super) traces: Traces,
    pub(super) waits_forgotten: u64,
    pub(super) problems: Vec<String>,
    /// Datagrams for it that the kernel dropped.
    pub(super) kernel_drops: u64,
    pub(super) end: EndRecord,
}

impl ClientLog {
    pub(super) fn new(end: EndRecord) -> Self {
        Self { traces: Traces::default(), waits_forgotten: 0, problems: Vec::new(), kernel_drops: 0, end }
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
    /// How long it reads nothing after each message.
    pub(super) stall: Duration,
    /// Whether clients of this run leave while others talk.
    pub(super) is_anybody_leaving: bool,
    pub(super) is_traced: bool,
    pub(super) cast: Arc<Cast>,
    pub(super) clock: Clock,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) reports: Reports,
    pub(super) ears: Arc<Ears>,
}

impl Setup {
    fn tell(&self, seen: Seen) {
        self.ears.tell(self.index, seen);
    }
}

pub(super) async fn run(mut setup: Setup) -> ClientLog {
    let clock = setup.clock;
    let mut alarm = Alarm::new(clock);
    alarm.ring(Some(setup.start_at)).await;
    let mut socket = setup.socket();
    let mut session = setup.session(0);
    let mut now = clock.now();
    session.start(now);
    let mut actor = Actor::new(setup.index, Arc::clone(&setup.cast), setup.is_anybody_leaving);
    actor.on_started(now);
    let mut client = Client {
        log: ClientLog::new(EndRecord::of(&session, 0)),
        actor,
        reads_at: Timestamp::ZERO,
        sessions: 0,
        past: Stats::default(),
        repeats: 0,
    };
    loop {
        client.drain(&setup, &mut session, now);
        socket.act(&mut session, clock).await;
        client.drain(&setup, &mut session, now);
        if client.actor.departure(now, &session) {
            client.pass_on(&setup);
            say_goodbye(&mut session, &mut socket, clock).await;
            client.log.kernel_drops += socket.kernel_drops();
            socket = setup.socket();
        }
        if session.is_closed() && !client.actor.is_away() {
            break;
        }
        let is_there = !client.actor.is_away();
        let is_reading = is_there && client.reads_at <= now;
        let reads_at = (is_there && !is_reading).then_some(client.reads_at);
        let deadline = session.poll_timeout().filter(|_| is_there);
        let due = [deadline, reads_at, client.actor.poll_timeout()].into_iter().flatten().min();
        let input = tokio::select! {
            input = socket.input(), if is_reading => Some(input),
            order = setup.orders.recv() => {
                now = clock.now();
                match order {
                    Some(Order::Send(intent)) => client.send(&setup, &mut session, intent, now),
                    Some(Order::Leave { is_abrupt }) => {
                        client.actor.leave(now, is_abrupt);
                        if client.actor.is_away() {
                            // Closed by dropping it: without a word of ours.
                            client.log.kernel_drops += socket.kernel_drops();
                            socket = setup.socket();
                        }
                    }
                    Some(Order::Return) => {
                        let comeback = client.actor.come_back(now);
                        client.come_back(&setup, &mut session, comeback);
                    }
                    Some(Order::Stop) | None => break,
                }
                None
            }
            () = alarm.ring(due) => {
                now = clock.now();
                if deadline.is_some_and(|at| at <= now) {
                    session.handle_timeout(now);
                }
                if client.actor.poll_timeout().is_some_and(|at| at <= now) {
                    let comeback = client.actor.comeback(now);
                    client.come_back(&setup, &mut session, comeback);
                }
                None
            }
        };
        if let Some(input) = input {
            now = clock.now();
            socket.feed(input, &mut session, now);
        }
    }
    session.tell_unfinished();
    client.drain(&setup, &mut session, now);
    client.take_stock(&session);
    client.log.kernel_drops += socket.kernel_drops();
    say_goodbye(&mut session, &mut socket, clock).await;
    client.log
}

async fn say_goodbye(session: &mut Session, socket: &mut Socket, clock: Clock) {
    session.quit(clock.now());
    // The server need not wait for this client any more; if the path is gone, it will find out.
    let _ = tokio::time::timeout(GOODBYE, socket.act(session, clock)).await;
}

impl Setup {
    fn socket(&self) -> Socket {
        let mut socket = Socket::new(self.server, self.config.carrier);
        if let Some(dial) = self.dial.clone() {
            socket = socket.dialling(dial);
        }
        if let Some(security) = self.security.clone() {
            socket = socket.secured(security, self.clock);
        }
        socket
    }

    /// The session of a client after `sessions` others.
    fn session(&self, sessions: u32) -> Session {
        let mut config = self.config.clone();
        if sessions > 0 {
            config.seed = seed_again(&config.seed, sessions);
        }
        let mut session = Session::new(self.clock.now(), config);
        session.set_tracing(self.is_traced);
        session.set_wait_tracing(true);
        session
    }
}

struct Client {
    log: ClientLog,
    actor: Actor,
    /// A slow reader looks at its socket again then.
    reads_at: Timestamp,
    /// Sessions that it has left behind, and their counters.
    sessions: u32,
    past: Stats,
    /// Packets sent again that were told.
    repeats: u64,
}

impl Client {
    fn drain(&mut self, setup: &Setup, session: &mut Session, now: Timestamp) {
        let mut texts = 0;
        while let Some(event) = session.poll_event() {
            texts += self.actor.on_event(now, session, event);
        }
        // Before what was heard: with that, a message may be done with.
        while let Some(waited) = session.poll_wait() {
            setup.ears.waited(setup.index, waited);
        }
        self.pass_on(setup);
        if texts > 0 && !setup.stall.is_zero() {
            self.reads_at = now + setup.stall * texts;
        }
        if setup.is_traced {
            while let Some(event) = session.poll_trace() {
                self.log.traces.push(setup.index, Side::Client, event);
            }
        }
        let repeats = self.past.retransmits + session.connection().stats().retransmits;
        setup.ears.repeated(repeats - std::mem::replace(&mut self.repeats, repeats).min(repeats));
        let cwnd = session.connection().metrics().cwnd.as_u64();
        self.log.end.cwnd_max = self.log.end.cwnd_max.max(cwnd);
    }

    fn send(&mut self, setup: &Setup, session: &mut Session, intent: Intent, now: Timestamp) {
        let delivery = setup.deliveries[usize::from(intent.workload)];
        self.actor.send(now, session, &intent, delivery);
        self.pass_on(setup);
    }

    /// Passes on what happened.
    fn pass_on(&mut self, setup: &Setup) {
        while let Some(happening) = self.actor.poll() {
            match happening {
                Happening::Seen(seen) => setup.tell(seen),
                Happening::Named { message, number } => setup.ears.name(setup.index, message, number),
                Happening::Settled { message } => setup.reports.settled(message),
                Happening::Entered => setup.reports.joined(),
                Happening::Gone => setup.reports.gone(setup.index),
                Happening::Present => setup.reports.present(setup.index),
                Happening::Problem(problem) => self.log.problems.push(problem),
            }
        }
    }

    fn come_back(&mut self, setup: &Setup, session: &mut Session, comeback: Option<Comeback>) {
        match comeback {
            None => {}
            Some(Comeback::Resume) => session.on_disconnected(setup.clock.now(), "it was away"),
            Some(Comeback::Anew) => {
                self.past += session.connection().stats();
                self.log.waits_forgotten += session.waits_forgotten();
                self.sessions += 1;
                *session = setup.session(self.sessions);
                session.start(setup.clock.now());
            }
        }
    }

    fn take_stock(&mut self, session: &Session) {
        self.log.end = EndRecord::of(session, self.log.end.cwnd_max);
        self.log.end.stats += &self.past;
        self.log.waits_forgotten += session.waits_forgotten();
    }
}

const GOODBYE: Duration = Duration::from_millis(500);
