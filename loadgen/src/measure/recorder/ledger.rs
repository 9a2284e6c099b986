//! What is owed to whom: every message that is not settled yet, and what became of each of its pairs.
//!
//! A message waits in a ring until each of its recipients has heard it, has left, or its time is up; then it is told to
//! the books once, whole, and forgotten. So the ledger is as large as what is under way, however long the run. Of
//! messages that are gone it keeps who had lost them, for a while: a later arrival of a lost pair is late, of any other a
//! duplicate, unless its recipient has been away since, as its session goes on and hears what was said meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chat_core::connection::Reliability;
use chat_core::wire::Order as Promise;
use rustc_hash::FxHashMap;
use units::Timestamp;

use super::leaves::Leaves;
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
    /// Whether ends tell of its waits.
    pub(super) tells_waits: bool,
    pub(super) is_up_told: bool,
    /// When the server passed it on; `None` if it does not tell.
    pub(super) passed_on: Option<Timestamp>,
    /// Acknowledged, failed, refused, or as far as anybody can tell.
    is_over: bool,
    pub(super) is_refused: bool,
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
    /// It was heard, and its message waits to be told of that.
    is_awaited: bool,
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
    /// Messages that are not done with and older than the ring: one that waits for its time does not keep all behind it.
    stragglers: BTreeMap<u32, (Message, Vec<Pair>)>,
    /// Emptied lists of pairs, to be used again.
    spare: Vec<Vec<Pair>>,
    newest: Newest,
    unheard: UnheardPairs,
    troubles: Troubles,
    leaves: Leaves,
    /// The first message of a recorded phase.
    first_recorded: Option<u32>,
    /// Pairs not heard yet of messages that were submitted.
    owed: u64,
    /// Messages of which nobody has told whether they were submitted.
    pending: u64,
    /// Submitted messages of which nothing final is known.
    unsettled: u64,
    names: FxHashMap<(u32, u64), u32>,
    /// Until then no time is up.
    next_overdue: Timestamp,
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
            stragglers: BTreeMap::new(),
            spare: Vec::new(),
            newest: Newest::default(),
            unheard: UnheardPairs::default(),
            troubles: Troubles::new(scenario.measure.exemplars > 0),
            leaves: Leaves::new(cast.clients()),
            first_recorded: None,
            owed: 0,
            pending: 0,
            unsettled: 0,
            names: FxHashMap::default(),
            next_overdue: Timestamp::NEVER,
            open_messages: 0,
            cast,
        }
    }

    pub(super) fn on_intent(&mut self, intent: Intent) {
        debug_assert_eq!(
            u64::from(intent.id),
            u64::from(self.first) + self.ring.len() as u64,
            "the schedule counts without gaps"
        );
        self.make_room();
        let due = intent.intended + self.rules[usize::from(intent.workload)].timeout;
        self.next_overdue = self.next_overdue.min(due);
        let mut pairs = self.spare.pop().unwrap_or_default();
        let seats = self.cast.seats(&intent);
        pairs.resize(seats as usize, Pair::OPEN);
        let mut open = seats;
        for vacant in self.vacant_seats(&intent) {
            pairs[vacant as usize].state = State::Vacant;
            open -= 1;
        }
        let is_recorded = self.recorded.get(usize::from(intent.phase)).copied().unwrap_or(false);
        if is_recorded {
            self.first_recorded.get_or_insert(intent.id);
        }
        // A file is many messages to both ends, and what answers a question is one of the server's own.
        let tells_waits = self.tells_waits && !matches!(intent.target, Target::File(_) | Target::Members(_));
        let message = Message {
            intent,
            is_recorded,
            submitted: None,
            acked: None,
            failed: false,
            number: None,
            up: Waits::default(),
            tells_waits,
            is_up_told: !tells_waits,
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
        let seats = if self.leaves.has_anybody_left() { self.cast.seats(&intent) } else { 0 };
        let away = (0..seats).filter(move |&seat| {
            let client = self.cast.at_seat(&intent, seat);
            client != intent.sender && self.leaves.since(client, intent.intended)
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
        self.slot(id).map(|(message, _)| &*message)
    }

    pub(super) fn on_refused(&mut self, id: u32, books: &mut impl Books) -> Option<Intent> {
        let (message, _) = self.get(id)?;
        message.is_refused = true;
        message.is_over = true;
        let intent = message.intent;
        self.close_if_done(id, books);
        Some(intent)
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
    pub(super) fn on_failed(&mut self, id: u32, books: &mut impl Books) -> Option<Intent> {
        let (message, _) = self.get(id)?;
        if std::mem::replace(&mut message.failed, true) {
            return None;
        }
        let intent = message.intent;
        if self.rules[usize::from(intent.workload)].may_give_up {
            // From here on `owed` says nothing of its pairs any more; those that arrive do not pay twice.
            let owed = self.get(id).map_or(0, |(message, _)| u64::from(std::mem::take(&mut message.owed)));
            self.owed = self.owed.saturating_sub(owed);
        }
        self.end(id, books);
        Some(intent)
    }

    pub(super) fn on_arrival(&mut self, arrival: &Arrival, books: &mut impl Books) {
        let Some(id) = arrival.message else {
            return books.invented();
        };
        let Some((message, pairs)) = slot(self.first, &mut self.ring, &mut self.stragglers, id) else {
            if id < self.first {
                self.on_straggler(id, arrival.recipient, books);
            } else {
                books.invented();
            }
            return;
        };
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
            let has_left = self.leaves.since(arrival.recipient, intent.intended);
            return match self.unheard.take(id, arrival.recipient) {
                Some(is_lost) => books.late(is_lost),
                // It need not have heard it, and may now.
                None if has_left => {}
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
        pair.is_awaited = message.tells_waits && !pair.is_down_told;
        message.untold += u32::from(pair.is_awaited);
        books.heard(&intent, message.is_recorded, arrival);
        self.close_if_done(id, books);
    }

    /// An arrival of a message that is forgotten: whom it was for nobody knows any more, but for those who did not hear it.
    fn on_straggler(&mut self, id: u32, recipient: u32, books: &mut impl Books) {
        match self.unheard.take(id, recipient) {
            Some(is_lost) => books.late(is_lost),
            // One that was away may hear now what was said meanwhile.
            None if self.leaves.ever(recipient) => {}
            None => books.again(self.first_recorded.is_some_and(|first| first <= id), None),
        }
    }

    /// A client left: what it has not heard, nobody expects it to.
    pub(super) fn on_gone(&mut self, client: u32, books: &mut impl Books) {
        if !self.leaves.go(client) {
            return;
        }
        let ids: Vec<u32> = self.ids().collect();
        for id in ids {
            let Some((message, pairs)) = slot(self.first, &mut self.ring, &mut self.stragglers, id) else {
                continue;
            };
            if message.is_told {
                continue;
            }
            let Some(seat) = self.cast.seat(&message.intent, client) else {
                continue;
            };
            let pair = &mut pairs[seat as usize];
            match pair.state {
                State::Open => {
                    pair.state = State::Left;
                    message.open -= 1;
                    if message.owed > 0 {
                        message.owed -= 1;
                        self.owed = self.owed.saturating_sub(1);
                    }
                }
                // Nobody may ever hear whether its acknowledgement came.
                _ if std::mem::take(&mut pair.is_awaited) => message.untold -= 1,
                _ => continue,
            }
            self.close_if_done(id, books);
        }
    }

    pub(super) fn on_back(&mut self, client: u32, at: Timestamp) {
        self.leaves.come_back(client, at);
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
        let Some((message, pairs)) = slot(self.first, &mut self.ring, &mut self.stragglers, id) else {
            return;
        };
        let seat = self.cast.seat(&message.intent, recipient);
        let Some(pair) = seat.and_then(|seat| pairs.get_mut(seat as usize)) else {
            return;
        };
        take(&mut pair.down);
        if is_last && !pair.is_down_told {
            pair.is_down_told = true;
            message.untold -= u32::from(std::mem::take(&mut pair.is_awaited));
            self.close_if_done(id, books);
        }
    }

    /// Whether every message that was submitted has an end, and every pair of it that anybody waits for was heard.
    pub(super) fn is_settled(&self) -> bool {
        self.owed == 0 && self.unsettled == 0 && self.pending == 0
    }

    /// Messages that are not done with. One that was heard by all and acknowledged counts until its ends have told what it
    /// waited for, unless there is nothing else.
    pub(super) fn under_way(&self) -> u64 {
        if self.is_settled() { 0 } else { self.open_messages }
    }

    /// Messages in memory, and pairs: what must not grow with the length of a run.
    pub(super) fn held(&self) -> (usize, usize) {
        let all = self.ring.iter().chain(self.stragglers.values());
        (self.ring.len() + self.stragglers.len(), all.map(|(_, pairs)| pairs.len()).sum())
    }

    /// Pairs of clients whose order nobody looked at, because there were too many of them.
    pub(super) fn unordered(&self) -> u64 {
        self.newest.beyond
    }

    /// Time is up for what was meant to be sent long before `now`.
    pub(super) fn sweep(&mut self, now: Timestamp, books: &mut impl Books) {
        if now <= self.next_overdue {
            return;
        }
        let mut overdue = Vec::new();
        self.next_overdue = Timestamp::NEVER;
        let all = self.stragglers.values().chain(&self.ring).map(|(message, _)| message);
        for message in all.filter(|message| !message.is_told) {
            let due = message.intent.intended + self.rules[usize::from(message.intent.workload)].timeout;
            if due < now {
                overdue.push(message.intent.id);
            } else {
                self.next_overdue = self.next_overdue.min(due);
            }
        }
        overdue.into_iter().for_each(|id| self.tell(id, books));
    }

    /// Forgets the oldest, and sets aside what is not done with.
    fn make_room(&mut self) {
        while self.ring.len() > KEPT {
            let Some((message, pairs)) = self.ring.pop_front() else {
                return;
            };
            if !message.is_told {
                self.stragglers.insert(self.first, (message, pairs));
            }
            self.first += 1;
        }
    }

    /// The run is over: what is open is lost.
    pub(super) fn finish(&mut self, books: &mut impl Books) {
        let ids: Vec<u32> = self.ids().collect();
        ids.into_iter().for_each(|id| self.tell(id, books));
    }

    /// Everything in memory, oldest first.
    fn ids(&self) -> impl Iterator<Item = u32> {
        let end = self.first + u32::try_from(self.ring.len()).unwrap_or(u32::MAX);
        self.stragglers.keys().copied().chain(self.first..end)
    }

    fn slot(&mut self, id: u32) -> Option<&mut (Message, Vec<Pair>)> {
        slot(self.first, &mut self.ring, &mut self.stragglers, id)
    }

    /// A message that is not done with.
    fn get(&mut self, id: u32) -> Option<(&mut Message, &mut Vec<Pair>)> {
        let (message, pairs) = self.slot(id)?;
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
        let Some((message, _)) = self.slot(id) else {
            return;
        };
        let is_heard = message.is_over && message.open == 0 && message.is_up_told && message.untold == 0;
        if !message.is_told && (message.is_refused || is_heard) {
            self.tell(id, books);
        }
    }

    /// Passes the verdict on what is open, tells the books, and forgets the pairs.
    fn tell(&mut self, id: u32, books: &mut impl Books) {
        let Some((message, pairs)) = slot(self.first, &mut self.ring, &mut self.stragglers, id) else {
            return;
        };
        if std::mem::replace(&mut message.is_told, true) {
            return;
        }
        self.open_messages -= 1;
        self.owed = self.owed.saturating_sub(u64::from(message.owed));
        match message.submitted {
            Some(_) => self.unsettled -= u64::from(!message.is_over),
            None => self.pending -= 1,
        }
        let rules = self.rules[usize::from(message.intent.workload)];
        for (seat, pair) in (0..).zip(pairs.iter_mut()) {
            if pair.state == State::Open {
                let recipient = self.cast.at_seat(&message.intent, seat);
                pair.state = absence(message, rules, recipient, &self.newest);
                let is_lost = pair.state == State::Lost && message.is_recorded;
                self.unheard.add(id, recipient, is_lost);
            }
        }
        // A client that came back anew counts from nought again; then the name is another message's.
        if let Some(name) = message.number.map(|number| (message.intent.sender, number))
            && self.names.get(&name) == Some(&id)
        {
            self.names.remove(&name);
        }
        books.settled(message, pairs, &self.troubles);
        self.troubles.forget(id);
        let mut pairs = std::mem::take(pairs);
        pairs.clear();
        if self.spare.len() < SPARE && pairs.capacity() <= SPARE_PAIRS {
            self.spare.push(pairs);
        }
        self.stragglers.remove(&id);
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
        is_awaited: false,
    };
}

/// The newest message that each recipient heard of each sender and conversation, or workload that keeps no order.
#[derive(Debug, Default)]
struct Newest {
    ids: FxHashMap<u64, u32>,
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

/// Pairs that were open when their message was told, and may be heard yet; the oldest are forgotten.
#[derive(Debug, Default)]
struct UnheardPairs {
    /// Whether they counted as lost, in a recorded phase. Only asked, never iterated.
    pairs: FxHashMap<(u32, u32), bool>,
    order: VecDeque<(u32, u32)>,
}

impl UnheardPairs {
    fn add(&mut self, id: u32, recipient: u32, is_lost: bool) {
        if self.order.len() == MOST_UNHEARD
            && let Some(oldest) = self.order.pop_front()
        {
            self.pairs.remove(&oldest);
        }
        self.order.push_back((id, recipient));
        self.pairs.insert((id, recipient), is_lost);
    }

    /// Tells of a pair once; a second arrival is not late again.
    fn take(&mut self, id: u32, recipient: u32) -> Option<bool> {
        self.pairs.remove(&(id, recipient))
    }
}

/// A message in memory. Not a method, so that other parts of the ledger can be used beside it.
fn slot<'a>(
    first: u32,
    ring: &'a mut VecDeque<(Message, Vec<Pair>)>,
    stragglers: &'a mut BTreeMap<u32, (Message, Vec<Pair>)>,
    id: u32,
) -> Option<&'a mut (Message, Vec<Pair>)> {
    match id.checked_sub(first) {
        Some(index) => ring.get_mut(index as usize),
        None => stragglers.get_mut(&id),
    }
}

/// A message that is not heard for so long after it was meant to be sent is lost, unless a longer drain waits for it:
/// above the longest retransmission timeout (60 s, RFC 6298 section 2.4) nothing of it comes any more.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages that are done with and stay in the ring, so that a stray arrival is judged by whom it was for; 1.5 MiB.
const KEPT: usize = 8192;
/// Emptied lists that are kept, and the longest of them: a room's, not that of a broadcast to everybody; 8 MiB.
const SPARE: usize = 1024;
const SPARE_PAIRS: usize = 256;
/// Recipients and those whom they hear: 64 MiB. Further pairs are not held to an order, which is counted.
const MOST_CONVERSATIONS: usize = 4 << 20;
/// Unheard pairs whose late arrival is told from a duplicate: 2 MiB.
const MOST_UNHEARD: usize = 65_536;
