//! Who comes and goes, and when.
//!
//! Each client of a churn workload is in a session for a while, leaves, stays away for a while and comes back; all
//! from its own substreams. Sessions count the time in which their workload is done: in other phases nobody leaves,
//! and the time there is to their sessions as if it had not been. Those that are away come back in any phase.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use rand::RngExt;
use units::{Rng, Seed, Timestamp};

use super::clock::{Clock, between, moment};
use super::draw;
use super::process::nanos;
use crate::scenario::Churn;

/// All clients that come and go.
#[derive(Debug, Default)]
pub(super) struct Comings {
    members: BTreeMap<u32, Comer>,
    /// When each leaves or comes back; one entry for each that has either ahead.
    due: BinaryHeap<Reverse<(Timestamp, u32)>>,
    zero: Timestamp,
}

/// One client.
#[derive(Debug)]
struct Comer {
    churn: Arc<Churn>,
    clock: Arc<Clock>,
    is_there: bool,
    sessions: Rng,
    absences: Rng,
    manners: Rng,
}

/// Somebody leaves or comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// `is_abrupt`: without a word to the server.
    Leave {
        client: u32,
        is_abrupt: bool,
    },
    Return {
        client: u32,
    },
}

impl Comings {
    /// `client` comes and goes by `churn`, when `clock` runs. Who is there already stays with its first one.
    pub(super) fn add(&mut self, client: u32, churn: &Arc<Churn>, clock: &Arc<Clock>, seed: &Seed) {
        self.members.entry(client).or_insert_with(|| Comer {
            churn: Arc::clone(churn),
            clock: Arc::clone(clock),
            is_there: true,
            sessions: seed.fork("session").rng(),
            absences: seed.fork("off").rng(),
            manners: seed.fork("abrupt").rng(),
        });
    }

    /// Everybody is in their first session.
    pub(super) fn start(&mut self, at: Timestamp) {
        self.zero = at;
        let clients: Vec<u32> = self.members.keys().copied().collect();
        clients.into_iter().for_each(|client| self.begin_session(at, client));
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// What was due by `now`, in the order of its times.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<Move> {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return None;
        }
        let Reverse((_, client)) = self.due.pop()?;
        let comer = self.members.get_mut(&client)?;
        if !comer.is_there {
            return Some(Move::Return { client });
        }
        comer.is_there = false;
        let is_abrupt = comer.manners.random::<f64>() < comer.churn.abrupt.get();
        Some(Move::Leave { client, is_abrupt })
    }

    /// It has left: its absence begins.
    pub(super) fn on_gone(&mut self, now: Timestamp, client: u32) {
        if let Some(comer) = self.members.get_mut(&client).filter(|comer| !comer.is_there) {
            let absence = draw::span(&comer.churn.off, &mut comer.absences);
            self.due.push(Reverse((now + absence, client)));
        }
    }

    /// It is back in its rooms: its next session begins.
    pub(super) fn on_present(&mut self, now: Timestamp, client: u32) {
        if let Some(comer) = self.members.get_mut(&client).filter(|comer| !comer.is_there) {
            comer.is_there = true;
            self.begin_session(now, client);
        }
    }

    fn begin_session(&mut self, now: Timestamp, client: u32) {
        let zero = self.zero;
        let Some(comer) = self.members.get_mut(&client) else { return };
        let session = draw::span(&comer.churn.session, &mut comer.sessions);
        let ends = comer.clock.shows(between(zero, now)) + nanos(session);
        if let Some(at) = comer.clock.when(ends) {
            self.due.push(Reverse((moment(zero, at).max(now), client)));
        }
    }
}
