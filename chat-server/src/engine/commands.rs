//! What the operator can see and do.

use std::sync::Arc;

use chat_core::connection::Stats;
use chat_core::message::{ErrorCode, NoticeEvent};
use chat_core::{Content, Delivery, Incoming, MsgType, Outgoing, Priority};
use units::Timestamp;

use super::{Engine, Session, Simulation, Weather};
use crate::control::{ClientInfo, NetCounters, ServerStats};
use crate::hub::SessionId;

/// No client has this id or name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no client \"{0}\"; \"clients\" lists them")]
pub struct NotFound(pub String);

impl Engine {
    /// The state of the server in numbers.
    #[must_use]
    pub fn stats(&self, now: Timestamp) -> ServerStats {
        let attached = self.sessions.values().filter(|session| session.peer.is_some()).count();
        ServerStats {
            uptime_s: now.as_secs_f64(),
            clients: attached as u64,
            detached: (self.sessions.len() - attached) as u64,
            peers: self.peers.len() as u64,
            rooms: self.hub.rooms().len() as u64,
            draining: self.draining,
            chat: *self.hub.counters(),
            events: self.counters,
            transport: self.transport_stats(),
            net: NetCounters::default(),
            outbox_max: self
                .sessions
                .values()
                .map(|session| session.connection.unacked_messages())
                .max()
                .unwrap_or(0) as u64,
            simulation: self.weather.as_ref().map(|weather| weather.status(now)),
        }
    }

    /// Transport counters of all sessions that ever were.
    #[must_use]
    pub fn transport_stats(&self) -> Stats {
        let mut sum = self.past;
        for session in self.sessions.values() {
            sum += session.connection.stats();
        }
        sum
    }

    /// Every session, in the order in which they began.
    #[must_use]
    pub fn clients(&self, now: Timestamp) -> Vec<ClientInfo> {
        let ids = self.session_ids().into_iter();
        ids.filter_map(|id| Some(self.describe(now, id, self.sessions.get(&id)?))).collect()
    }

    /// Ends the session with this number or user name.
    pub fn kick(&mut self, now: Timestamp, who: &str, reason: &str) -> Result<ClientInfo, NotFound> {
        let by_name = self.hub.session_of(who);
        let by_id = who.parse().ok().map(SessionId).filter(|id| self.sessions.contains_key(id));
        let id = by_name.or(by_id).ok_or_else(|| NotFound(who.to_owned()))?;
        let session = self.sessions.get(&id).ok_or_else(|| NotFound(who.to_owned()))?;
        let info = self.describe(now, id, session);
        self.counters.kicked += 1;
        self.end_session(
            now,
            id,
            ErrorCode::Kicked,
            format!("you were disconnected by the operator: {reason}"),
        );
        self.settle(now);
        Ok(info)
    }

    /// Says something to everyone; returns how many.
    pub fn broadcast(&mut self, now: Timestamp, text: &str) -> usize {
        let reached = self.hub.announce(now, NoticeEvent::Announcement, text);
        self.settle(now);
        reached
    }

    /// Puts simulated weather over every live connection, or lifts it. What is under way arrives as it was meant to.
    pub fn simulate(&mut self, now: Timestamp, simulation: Option<Simulation>) {
        match (simulation, &mut self.weather) {
            (Some(simulation), Some(weather)) => weather.configure(now, simulation),
            (Some(simulation), None) => {
                self.weather = Some(Weather::new(simulation, now, self.config.seed.fork("server/weather")));
            }
            (None, Some(weather)) => weather.lift(now),
            (None, None) => {}
        }
        self.release_weather(now);
        self.settle(now);
    }

    /// No new sessions from now on; those that are here are told.
    pub fn start_drain(&mut self, now: Timestamp, text: &str) {
        if !self.draining {
            self.draining = true;
            self.hub.announce(now, NoticeEvent::Shutdown, text);
            self.settle(now);
        }
    }

    /// Whether every connected client has acknowledged everything.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.sessions.values().all(|session| session.peer.is_none() || session.connection.is_settled())
    }

    /// Says goodbye to everyone and forgets them.
    pub fn close_all(&mut self, now: Timestamp) {
        for id in self.session_ids() {
            self.end_session(now, id, ErrorCode::ShuttingDown, "the server is shutting down".to_owned());
        }
        self.settle(now);
    }

    /// In the order in which they began.
    fn session_ids(&self) -> Vec<SessionId> {
        let mut ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Answers a user's `stats`: what the server knows of this user's own connection.
    pub(super) fn answer_stats(&mut self, now: Timestamp, id: SessionId, request: &Incoming) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let mut answer =
            serde_json::json!({ "reply_to": request.msg_id, "you": self.describe(now, id, session) });
        answer["server"] = serde_json::json!({
            "clients": self.sessions.len(), "rooms": self.hub.rooms().len(), "uptime_s": now.as_secs_f64(),
        });
        let message = Outgoing {
            msg_id: "stats".into(),
            msg_type: MsgType::Stats,
            sender: chat_core::name::SERVER.into(),
            content: Content::of(&answer),
            timestamp_us: self.config.unix_us_at_zero + now.as_micros(),
            priority: Priority::Control,
            channel: 0,
            delivery: Delivery::default(),
        };
        self.send_to(now, id, message);
    }

    fn describe(&self, now: Timestamp, id: SessionId, session: &Session) -> ClientInfo {
        let entry = session.peer.and_then(|peer| self.peers.get(&peer));
        let metrics = session.connection.metrics();
        let micros = |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let rooms: Vec<Arc<str>> = self.hub.rooms_of(id);
        ClientInfo {
            id: id.0,
            user: session.user.clone(),
            address: entry.map(|entry| entry.address.clone()),
            connected: entry.is_some(),
            age_s: now.since(session.since).as_secs_f64(),
            idle_s: now.since(session.last_seen).as_secs_f64(),
            resumes: session.resumes,
            rooms,
            srtt_us: metrics.srtt.map(micros),
            rto_us: micros(metrics.rto),
            cwnd_bytes: metrics.cwnd.as_u64(),
            in_flight_bytes: metrics.in_flight.as_u64(),
            queued_messages: session.connection.unacked_messages() as u64,
            queued_bytes: session.connection.unacked_bytes().as_u64(),
            transport: *session.connection.stats(),
        }
    }
}
