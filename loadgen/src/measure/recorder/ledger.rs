//! What is owed to whom: every message that is not settled yet, and what became of each of its pairs.
//!
//! A message waits in a ring until each of its recipients has heard it, has left, or its time is up; then it is told to
//! the books once, whole, and forgotten. So the ledger is as large as what is under way, however long the run. Of
//! messages that are gone it keeps who had not heard them, for a while: a later arrival of a lost pair is late, of any
//! other a duplicate.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use chat_core::connection::Reliability;
use chat_core::wire::Order as Promise;
use units::Timestamp;

use super::troubles::Troubles;
use crate::backend::Cast;
use crate::record::DeliveryStatus;
use crate::scenario::Scenario;
use crate::seen::Arrival;
use crate::workload::{Intent, Target};

/// Whoever keeps what the ledger tells.
pub(super) trait Books {
    /// A pair was heard for the first time.
    fn heard(&mut self, intent: &Intent, is_recorded: bool, arrival: &Arrival);
    /// A message is done with; nothing more will be told of it.
    fn settled(&mut self, message: &Message, pairs: &[Pair], troubles: &Troubles);
    /// A message arrived again.
    fn again(&mut self, is_recorded: bool, known: Option<(&Message, &Arrival)>);
    /// A pair that counted as lost arrived after all.
    fn late(&mut self, is_recorded: bool);
    /// Somebody heard what nobody sent, or what was not for it.
    fn invented(&mut self);
}

/// One message that was meant to be sent.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) intent: Intent,
    pub(super) is_recorded: bool,
    pub(super) submitted: Option<Timestamp>,
    pub(super) acked: Option<Timestamp>,
    pub(super) failed: bool,
    /// Its number in its author's session, under which both ends tell of waits.
    pub(super) number: Option<u64>,
    /// What it waited for on its way to the server.
    pub(super) up: Waits,
    pub(super) is_up_told: bool,
    /// When the server passed it on; `None` if it does not tell.
    pub(super) passed_on: Option<Timestamp>,
    /// Acknowledged, failed, refused, or as far as anybody can tell.
    is_over: bool,
    is_refused: bool,
    is_told: bool,
    /// Pairs that have not been heard and whose recipients are there.
    open: u32,
    /// Pairs that were heard and of which the end that sent them has not told what they waited for.
    untold: u32,
    /// Pairs that a drain waits for.
    owed: u32,
}

/// One recipient's seat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) at: Timestamp,
    pub(super) state: State,
    pub(super) is_out_of_order: bool,
    /// What it waited for on its way from the server.
    pub(super) down: Waits,
    pub(super) is_down_told: bool,
}

/// What became of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody who should hear it sits there: the sender, or one who was away when it was sent.
    Vacant,
    Open,
    /// Its recipient left before it heard it.
    Left,
    Delivered,
    Corrupted,
    Lost,
    Expired,
    Superseded,
}

impl State {
    /// As rows and counts call it; `None` without a pair.
    pub(super) fn status(self, is_out_of_order: bool) -> Option<DeliveryStatus> {
        Some(match self {
            Self::Vacant => return None,
            Self::Delivered if is_out_of_order => DeliveryStatus::OutOfOrder,
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Corrupted => DeliveryStatus::Corrupted,
            Self::Open | Self::Lost => DeliveryStatus::Lost,
            Self::Left => DeliveryStatus::Excused,
            Self::Expired => DeliveryStatus::Expired,
            Self::Superseded => DeliveryStatus::Superseded,
        })
    }
}

/// Microseconds by cause, on one hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::measure) struct Waits {
    pub(in crate::measure) window: u32,
    pub(in crate::measure) pacing: u32,
    pub(in crate::measure) flow: u32,
    pub(in crate::measure) loss: u32,
    pub(in crate::measure) order: u32,
}

/// What the ledger knows of a workload.
#[derive(Clone, Copy, Debug)]
struct Rules {
    order: Promise,
    reliability: Reliability,
    may_give_up: bool,
    timeout: Duration,
}

#[derive(Debug)]
pub(super) struct Ledger {
    cast: Arc<Cast>,
    rules: Vec<Rules>,
    recorded: Vec<bool>,
    /// Whether ends tell of waits, so that a message is only done with when they have.
    tells_waits: bool,
    /// Id of the first message in the ring.
    first: u32,
    ring: VecDeque<(Message, Vec<Pair>)>,
    /// Every message before this id is done with.
    swept: u32,
    /// Emptied lists of pairs, to be used again.
    spare: Vec<Vec<Pair>>,
    newest: Newest,
    unheard: UnheardPairs,
    troubles: Troubles,
    away: Vec<bool>,
    /// When each client came back last: what was meant earlier it need not hear.
    back: Vec<Timestamp>,
    has_anybody_left: bool,
    /// Pairs not heard yet of messages that were submitted.
    owed: u64,
    /// Messages of which nobody has told whether they were submitted.
    pending: u64,
    /// Submitted messages of which nothing final is known.
    unsettled: u64,
    names: HashMap<(u32, u64), u32, BuildHasherDefault<Mix>>,
    /// Messages that are not done with.
    open_messages: u64,
}

impl Ledger {
    pub(super) fn new(scenario: &Scenario, cast: Arc<Cast>, tells_waits: bool) -> Self {
        let drain = scenario.phases.last().map_or(Duration::ZERO, |phase| phase.duration);
        let rules = scenario.workloads.iter().map(|workload| Rules {
            order: workload.delivery.order,
            reliability: workload.delivery.reliability,
            may_give_up: workload.may_give_up(),
            timeout: workload.timeout.unwrap_or(DEFAULT_TIMEOUT.max(drain)),
        });
        Self {
            rules: rules.collect(),
            recorded: scenario.phases.iter().map(|phase| phase.record).collect(),
            tells_waits,
            first: 0,
            ring: VecDeque::new(),
            swept: 0,
            spare: Vec::new(),
            newest: Newest::default(),
            unheard: UnheardPairs::default(),
            troubles: Troubles::new(scenario.measure.exemplars > 0),
            away: vec![false; cast.clients() as usize],
            back: vec![Timestamp::ZERO; cast.clients() as usize],
            has_anybody_left: false,
            owed: 0,
            pending: 0,
            unsettled: 0,
            names: HashMap::default(),
            open_messages: 0,
            cast,
        }
    }

    pub(super) fn on_intent(&mut self, intent: Intent, books: &mut impl Books) {
        debug_assert_eq!(
            u64::from(intent.id),
            u64::from(self.first) + self.ring.len() as u64,
            "the schedule counts without gaps"
        );
        self.sweep(intent.intended, books);
        let mut pairs = self.spare.pop().unwrap_or_default();
        let seats = self.cast.seats(&intent);
        pairs.resize(seats as usize, Pair::OPEN);
        let mut open = seats;
        for vacant in self.vacant_seats(&intent) {
            pairs[vacant as usize].state = State::Vacant;
            open -= 1;
        }
        let is_recorded = self.recorded.get(usize::from(intent.phase)).copied().unwrap_or(false);
        let message = Message {
            intent,
            is_recorded,
            submitted: None,
            acked: None,
            failed: false,
            number: None,
            up: Waits::default(),
            is_up_told: !self.tells_waits,
            passed_on: None,
            is_over: false,
            is_refused: false,
            is_told: false,
            open,
            untold: 0,
            owed: 0,
        };
        self.ring.push_back((message, pairs));
        self.open_messages += 1;
        self.pending += 1;
    }

    /// Seats of its sender and of clients that are away.
    fn vacant_seats(&self, intent: &Intent) -> impl Iterator<Item = u32> + use<'_> {
        let intent = *intent;
        let own = self.cast.own_seat(&intent);
        let seats = if self.has_anybody_left { self.cast.seats(&intent) } else { 0 };
        let away = (0..seats).filter(move |&seat| {
            let client = self.cast.at_seat(&intent, seat);
            let is_here = !self.away[client as usize] && self.back[client as usize] <= intent.intended;
            client != intent.sender && !is_here
        });
        own.into_iter().chain(away)
    }

    pub(super) fn on_submitted(&mut self, id: u32, at: Timestamp) -> Option<&Message> {
        let (message, _) = self.get(id)?;
        if message.submitted.is_none() {
            message.submitted = Some(at);
            message.owed = message.open;
            let (owed, is_over) = (u64::from(message.open), message.is_over);
            self.pending -= 1;
            self.owed += owed;
            self.unsettled += u64::from(!is_over);
        }
        self.ring.get(self.index(id)?).map(|(message, _)| message)
    }

    pub(super) fn on_refused(&mut self, id: u32, books: &mut impl Books) -> Option<&Message> {
        let (message, _) = self.get(id)?;
        message.is_refused = true;
        message.is_over = true;
        self.close_if_done(id, books);
        self.ring.get(self.index(id)?).map(|(message, _)| message)
    }

    pub(super) fn on_acked(&mut self, id: u32, at: Timestamp, books: &mut impl Books) {
        if let Some((message, _)) = self.get(id).filter(|(message, _)| message.acked.is_none()) {
            message.acked = Some(at);
            self.end(id, books);
        }
    }

    /// A baseline knows no more of it.
    pub(super) fn on_received(&mut self, id: u32, books: &mut impl Books) {
        self.end(id, books);
    }

    /// What may be given up is not waited for any more, though what is under way may arrive.
    pub(super) fn on_failed(&mut self, id: u32, books: &mut impl Books) -> Option<&Message> {
        let index = self.index(id)?;
        let (message, _) = &mut self.ring[index];
        if message.is_told || std::mem::replace(&mut message.failed, true) {
            return None;
        }
        if self.rules[usize::from(message.intent.workload)].may_give_up {
            // From here on `owed` says nothing of its pairs any more; those that arrive do not pay twice.
            let owed = u64::from(std::mem::take(&mut message.owed));
            self.owed = self.owed.saturating_sub(owed);
        }
        self.end(id, books);
        self.ring.get(index).map(|(message, _)| message)
    }

    pub(super) fn on_arrival(&mut self, arrival: &Arrival, books: &mut impl Books) {
        let Some(id) = arrival.message else {
            return books.invented();
        };
        if id < self.first {
            // Whom it was for is forgotten, but for those who did not hear it.
            return match self.unheard.take(id, arrival.recipient) {
                Some(unheard) => unheard.tell(books),
                None => books.again(true, None),
            };
        }
        let Some(index) = self.index(id) else {
            return books.invented();
        };
        let (message, pairs) = &mut self.ring[index];
        let intent = message.intent;
        let Some(seat) = self.cast.seat(&intent, arrival.recipient) else {
            return books.invented();
        };
        let rules = self.rules[usize::from(intent.workload)];
        let key = Newest::key(arrival.recipient, &intent, rules.order);
        let is_behind = match rules.order {
            Promise::Ordered => self.newest.is_behind(key, id),
            _ if arrival.intact => {
                self.newest.is_behind(key, id);
                false
            }
            _ => false,
        };
        if message.is_told {
            return match self.unheard.take(id, arrival.recipient) {
                Some(unheard) => unheard.tell(books),
                None => books.again(message.is_recorded, Some((message, arrival))),
            };
        }
        let pair = &mut pairs[seat as usize];
        match pair.state {
            // It came in after this was sent, or had left before it heard it; nobody expected it to hear.
            State::Vacant | State::Left => return,
            State::Open => {}
            _ => return books.again(message.is_recorded, Some((message, arrival))),
        }
        if arrival.at.since(intent.intended) > rules.timeout {
            // It stays open, and will be told as lost.
            return books.late(message.is_recorded);
        }
        if pair.state == State::Open {
            message.open -= 1;
            if message.owed > 0 {
                message.owed -= 1;
                self.owed = self.owed.saturating_sub(1);
            }
        }
        pair.state = if arrival.intact { State::Delivered } else { State::Corrupted };
        pair.at = arrival.at;
        pair.is_out_of_order = is_behind && arrival.intact;
        message.untold += u32::from(self.tells_waits && !pair.is_down_told);
        books.heard(&intent, message.is_recorded, arrival);
        self.close_if_done(id, books);
    }

    /// A client left: what it has not heard, nobody expects it to.
    pub(super) fn on_gone(&mut self, client: u32, books: &mut impl Books) {
        let Some(away) = self.away.get_mut(client as usize).filter(|away| !**away) else {
            return;
        };
        *away = true;
        self.has_anybody_left = true;
        for id in self.first..self.first + u32::try_from(self.ring.len()).unwrap_or(u32::MAX) {
            let index = (id - self.first) as usize;
            let (message, pairs) = &mut self.ring[index];
            let Some(seat) = self.cast.seat(&message.intent, client).filter(|_| !message.is_told) else {
                continue;
            };
            let pair = &mut pairs[seat as usize];
            if pair.state != State::Open {
                continue;
            }
            pair.state = State::Left;
            message.open -= 1;
            if message.owed > 0 {
                message.owed -= 1;
                self.owed = self.owed.saturating_sub(1);
            }
            self.close_if_done(id, books);
        }
    }

    pub(super) fn on_back(&mut self, client: u32, at: Timestamp) {
        if let Some(away) = self.away.get_mut(client as usize) {
            *away = false;
            self.back[client as usize] = at;
        }
    }

    /// Both ends name a message by its author and this number.
    pub(super) fn on_named(&mut self, id: u32, number: u64) {
        if let Some((message, _)) = self.get(id) {
            message.number = Some(number);
            let author = message.intent.sender;
            self.names.insert((author, number), id);
        }
    }

    /// The message that both ends call so; `None` if it is no message of the schedule, or done with.
    pub(super) fn named(&self, author: u32, number: u64) -> Option<u32> {
        self.names.get(&(author, number)).copied()
    }

    /// The server has passed it on.
    pub(super) fn on_passed_on(&mut self, id: u32, at: Timestamp) {
        if let Some((message, _)) = self.get(id) {
            message.passed_on = Some(at);
        }
    }

    /// What happened to it on its way to `recipient`, or else to the server.
    pub(super) fn on_steps(
        &mut self,
        id: u32,
        recipient: Option<u32>,
        steps: &[chat_core::trace::steps::Step],
    ) {
        if self.get(id).is_some() {
            self.troubles.add(id, recipient, steps);
        }
    }

    /// Messages whose steps had no room.
    pub(super) fn steps_left_out(&self) -> u64 {
        self.troubles.left_out()
    }

    /// Somebody told of the hop to the server. `is_last`: nothing more is told of that hop.
    pub(super) fn on_up(
        &mut self,
        id: u32,
        is_last: bool,
        take: impl FnOnce(&mut Waits),
        books: &mut impl Books,
    ) {
        if let Some((message, _)) = self.get(id) {
            take(&mut message.up);
            message.is_up_told |= is_last;
            self.close_if_done(id, books);
        }
    }

    /// The same of the hop to `recipient`.
    pub(super) fn on_down(
        &mut self,
        id: u32,
        recipient: u32,
        is_last: bool,
        take: impl FnOnce(&mut Waits),
        books: &mut impl Books,
    ) {
        let Some(index) = self.index(id) else {
            return;
        };
        let (message, pairs) = &mut self.ring[index];
        let seat = self.cast.seat(&message.intent, recipient);
        let Some(pair) = seat.and_then(|seat| pairs.get_mut(seat as usize)) else {
            return;
        };
        take(&mut pair.down);
        if is_last && !pair.is_down_told {
            pair.is_down_told = true;
            let is_heard = matches!(pair.state, State::Delivered | State::Corrupted);
            message.untold -= u32::from(is_heard && message.untold > 0);
            self.close_if_done(id, books);
        }
    }

    /// Whether every message that was submitted has an end, and every pair of it that anybody waits for was heard.
    pub(super) fn is_settled(&self) -> bool {
        self.owed == 0 && self.unsettled == 0 && self.pending == 0
    }

    /// Messages that are not done with.
    pub(super) fn under_way(&self) -> u64 {
        self.open_messages
    }

    /// Messages in memory, and pairs: what must not grow with the length of a run.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.ring.len(), self.ring.iter().map(|(_, pairs)| pairs.len()).sum())
    }

    /// Pairs of clients whose order nobody looked at, because there were too many of them.
    pub(super) fn unordered(&self) -> u64 {
        self.newest.beyond
    }

    /// Time is up for what was meant to be sent long before `now`.
    pub(super) fn sweep(&mut self, now: Timestamp, books: &mut impl Books) {
        let end = self.first + u32::try_from(self.ring.len()).unwrap_or(u32::MAX);
        while self.swept < end {
            let (message, _) = &self.ring[(self.swept - self.first) as usize];
            if !message.is_told {
                let timeout = self.rules[usize::from(message.intent.workload)].timeout;
                if now.since(message.intent.intended) <= timeout {
                    break;
                }
                self.tell(self.swept, books);
            }
            self.swept += 1;
        }
        while self.ring.len() > KEPT && self.first < self.swept {
            self.ring.pop_front();
            self.first += 1;
        }
    }

    /// The run is over: what is open is lost.
    pub(super) fn finish(&mut self, books: &mut impl Books) {
        let ids = self.first..self.first + u32::try_from(self.ring.len()).unwrap_or(u32::MAX);
        ids.for_each(|id| self.tell(id, books));
    }

    fn index(&self, id: u32) -> Option<usize> {
        let index = id.checked_sub(self.first)? as usize;
        (index < self.ring.len()).then_some(index)
    }

    /// A message that is not done with.
    fn get(&mut self, id: u32) -> Option<(&mut Message, &mut Vec<Pair>)> {
        let index = self.index(id)?;
        let (message, pairs) = &mut self.ring[index];
        (!message.is_told).then_some((message, pairs))
    }

    /// Something final is known of a message that was submitted.
    fn end(&mut self, id: u32, books: &mut impl Books) {
        if let Some((message, _)) = self.get(id) {
            let was_over = std::mem::replace(&mut message.is_over, true);
            let counts = message.submitted.is_some() && !was_over;
            self.unsettled -= u64::from(counts);
            self.close_if_done(id, books);
        }
    }

    fn close_if_done(&mut self, id: u32, books: &mut impl Books) {
        let Some(index) = self.index(id) else {
            return;
        };
        let (message, _) = &self.ring[index];
        let is_heard = message.is_over && message.open == 0 && message.is_up_told && message.untold == 0;
        if !message.is_told && (message.is_refused || is_heard) {
            self.tell(id, books);
        }
    }

    /// Passes the verdict on what is open, tells the books, and forgets the pairs.
    fn tell(&mut self, id: u32, books: &mut impl Books) {
        let Some(index) = self.index(id) else {
            return;
        };
        let (message, pairs) = &mut self.ring[index];
        if message.is_told {
            return;
        }
        message.is_told = true;
        self.open_messages -= 1;
        self.owed = self.owed.saturating_sub(u64::from(message.owed));
        match message.submitted {
            Some(_) => self.unsettled -= u64::from(!message.is_over),
            None => self.pending -= 1,
        }
        let rules = self.rules[usize::from(message.intent.workload)];
        for (seat, pair) in (0..).zip(pairs.iter_mut()) {
            let recipient = self.cast.at_seat(&message.intent, seat);
            match pair.state {
                State::Open => {
                    pair.state = absence(message, rules, recipient, &self.newest);
                    let is_lost = pair.state == State::Lost;
                    let unheard = Unheard::Open { is_lost: is_lost && message.is_recorded };
                    self.unheard.add(id, recipient, unheard);
                }
                State::Left => self.unheard.add(id, recipient, Unheard::Away),
                State::Vacant if recipient != message.intent.sender => {
                    self.unheard.add(id, recipient, Unheard::Away);
                }
                _ => {}
            }
        }
        if let Some(number) = message.number {
            self.names.remove(&(message.intent.sender, number));
        }
        books.settled(message, pairs, &self.troubles);
        self.troubles.forget(id);
        let mut pairs = std::mem::take(pairs);
        pairs.clear();
        if self.spare.len() < KEPT {
            self.spare.push(pairs);
        }
    }
}

/// What a message is for a recipient that did not hear it.
fn absence(message: &Message, rules: Rules, recipient: u32, newest: &Newest) -> State {
    let key = Newest::key(recipient, &message.intent, rules.order);
    let is_latest = rules.order == Promise::Latest && message.submitted.is_some();
    if is_latest && newest.get(key).is_some_and(|newest| newest > message.intent.id) {
        State::Superseded
    } else if message.failed && rules.reliability != Reliability::Reliable {
        State::Expired
    } else {
        State::Lost
    }
}

impl Pair {
    const OPEN: Self = Self {
        at: Timestamp::ZERO,
        state: State::Open,
        is_out_of_order: false,
        down: Waits { window: 0, pacing: 0, flow: 0, loss: 0, order: 0 },
        is_down_told: false,
    };
}

/// The newest message that each recipient heard of each sender and conversation, or workload that keeps no order.
#[derive(Debug, Default)]
struct Newest {
    ids: HashMap<u64, u32, BuildHasherDefault<Mix>>,
    beyond: u64,
}

impl Newest {
    /// Clients are below 2^17 (`MAX_CLIENTS`), so everything fits.
    fn key(recipient: u32, intent: &Intent, order: Promise) -> u64 {
        let conversation = match (order, intent.target) {
            (Promise::Ordered, Target::Room(0)) => 0,
            // Private lines and broadcasts of one sender share a channel of its session, but reach a recipient on their
            // own.
            (Promise::Ordered, Target::Client(_)) => 1,
            (Promise::Ordered, Target::All) => 2,
            // Each room is a conversation of its own, and files overtake lines and are overtaken by them.
            (Promise::Ordered, Target::Room(place)) => ROOMS + u64::from(place),
            (Promise::Ordered, Target::File(_)) => FILES,
            (Promise::Ordered, Target::Oneself) => FILES + 1,
            (Promise::Ordered, Target::Members(_)) => FILES + 2,
            _ => 3 + u64::from(intent.workload),
        };
        u64::from(recipient) << 42 | u64::from(intent.sender) << 20 | conversation
    }

    fn get(&self, key: u64) -> Option<u32> {
        self.ids.get(&key).copied()
    }

    /// Whether a newer one was heard before. Remembers the newer.
    fn is_behind(&mut self, key: u64, id: u32) -> bool {
        if let Some(newest) = self.ids.get_mut(&key) {
            let is_behind = id < *newest;
            *newest = id.max(*newest);
            return is_behind;
        }
        if self.ids.len() < MOST_CONVERSATIONS {
            self.ids.insert(key, id);
        } else {
            self.beyond += 1;
        }
        false
    }
}

/// Conversations beside those of a workload, of which there are fewer than 2^16: a client's rooms, and the rest.
const ROOMS: u64 = 1 << 17;
const FILES: u64 = 1 << 18;

/// Why somebody had not heard a message when it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unheard {
    /// It was lost, in a recorded phase, or given up.
    Open { is_lost: bool },
    /// Nobody expected it to hear.
    Away,
}

impl Unheard {
    /// It has heard it after all.
    fn tell(self, books: &mut impl Books) {
        match self {
            Self::Open { is_lost } => books.late(is_lost),
            Self::Away => {}
        }
    }
}

/// Pairs that had not been heard when their message was told, and may be yet; the oldest are forgotten.
#[derive(Debug, Default)]
struct UnheardPairs {
    /// Only asked, never iterated.
    pairs: HashMap<(u32, u32), Unheard, BuildHasherDefault<Mix>>,
    order: VecDeque<(u32, u32)>,
}

impl UnheardPairs {
    fn add(&mut self, id: u32, recipient: u32, unheard: Unheard) {
        if self.order.len() == MOST_UNHEARD
            && let Some(oldest) = self.order.pop_front()
        {
            self.pairs.remove(&oldest);
        }
        self.order.push_back((id, recipient));
        self.pairs.insert((id, recipient), unheard);
    }

    /// Tells of a pair once; a second arrival is not late again.
    fn take(&mut self, id: u32, recipient: u32) -> Option<Unheard> {
        self.pairs.remove(&(id, recipient))
    }
}

/// For keys that are numbers of ours: one multiplication, and the high half folded down. SipHash guards against chosen
/// keys, which nobody can choose here, and costs more than all the rest of a delivery.
#[derive(Clone, Copy, Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        // 2^64 divided by the golden ratio: neighbours land far apart (Knuth, volume 3, section 6.4).
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A message that is not heard for so long after it was meant to be sent is lost, unless a longer drain waits for it:
/// above the longest retransmission timeout (60 s, RFC 6298 section 2.4) nothing of it comes any more.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages that are done with and stay in the ring, so that a stray arrival is judged by whom it was for; 1.5 MiB.
const KEPT: usize = 8192;
/// Recipients and those whom they hear: 64 MiB. Further pairs are not held to an order, which is counted.
const MOST_CONVERSATIONS: usize = 4 << 20;
/// Unheard pairs whose late arrival is told from a duplicate: 2 MiB.
const MOST_UNHEARD: usize = 65_536;
