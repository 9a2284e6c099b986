//! Names of users and rooms, and who is meant to hear what.

use units::Seed;

use crate::scenario::Scenario;
use crate::workload::{Intent, Target};

/// Names of users and rooms, and who is meant to hear what.
///
/// The audience of a message has numbered *seats*: whoever keeps something of each pair can keep it in a list.
#[derive(Clone, Debug)]
pub struct Cast {
    prefix: String,
    /// By client.
    rooms: Vec<Vec<u32>>,
    /// By room, ascending; a member's place is its seat.
    members: Vec<Vec<u32>>,
    clients: u32,
}

impl Cast {
    /// `prefix` keeps the names of several runs against one server apart.
    #[must_use]
    pub fn new(scenario: &Scenario, prefix: String) -> Self {
        // Who sits where is a part of the scenario and the same in all its runs, so that these can be compared.
        let rooms = scenario.memberships(&Seed::root(scenario.run.seed));
        let mut members = vec![Vec::new(); rooms.iter().flatten().max().map_or(0, |&room| room as usize + 1)];
        for (client, rooms) in (0..).zip(&rooms) {
            rooms.iter().for_each(|&room| members[room as usize].push(client));
        }
        Self { prefix, rooms, members, clients: scenario.client_count() }
    }

    #[must_use]
    pub fn user(&self, client: u32) -> String {
        format!("{}c{client}", self.prefix)
    }

    /// Whose name this is; the reverse of [`Self::user`].
    #[must_use]
    pub fn client(&self, user: &str) -> Option<u32> {
        let number = user.strip_prefix(&*self.prefix)?.strip_prefix('c')?;
        let client = number.parse().ok().filter(|&client| client < self.clients)?;
        // One that is written in another way ("c07", "c+7") is somebody else's.
        let is_plain = number == "0" || number.starts_with(|first: char| ('1'..='9').contains(&first));
        is_plain.then_some(client)
    }

    /// The rooms that a client is in; at least one.
    pub fn rooms(&self, client: u32) -> impl ExactSizeIterator<Item = String> + '_ {
        self.rooms[client as usize].iter().map(|&room| self.room_name(room))
    }

    /// The room at this place among those that a client is in.
    #[must_use]
    pub fn room(&self, client: u32, place: u16) -> String {
        self.room_name(self.rooms[client as usize][usize::from(place)])
    }

    #[must_use]
    pub fn clients(&self) -> u32 {
        self.clients
    }

    /// Clients whose connections are traced.
    pub fn traced(&self, scenario: &Scenario) -> std::ops::Range<u32> {
        0..scenario.measure.trace_clients.min(self.clients)
    }

    /// Everyone who should hear a message: the membership when it is sent, its sender left out. What a client asks of the
    /// server it hears itself.
    pub fn recipients(&self, intent: &Intent) -> impl Iterator<Item = u32> + '_ {
        self.hearers(intent.sender, intent.target)
    }

    /// The same as [`Self::recipients`], by sender and target.
    pub(crate) fn hearers(&self, sender: u32, target: Target) -> impl Iterator<Item = u32> + '_ {
        let everyone = match target {
            Target::Room(place) | Target::File(place) => self.mates(sender, place).to_vec(),
            Target::Client(client) => vec![client],
            Target::All => (0..self.clients).collect(),
            Target::Oneself | Target::Members(_) => vec![sender],
        };
        everyone.into_iter().filter(move |&client| is_answer(target) || client != sender)
    }

    /// How many seats the audience of a message has; its sender may have one of them, from which nobody listens.
    pub(crate) fn seats(&self, intent: &Intent) -> u32 {
        match intent.target {
            Target::Room(place) | Target::File(place) => {
                u32::try_from(self.mates(intent.sender, place).len()).expect("clients are counted in u32")
            }
            Target::Client(_) | Target::Oneself | Target::Members(_) => 1,
            Target::All => self.clients,
        }
    }

    /// The seat of `client` in the audience of a message; `None` for who does not listen and for whom it is not meant.
    pub(crate) fn seat(&self, intent: &Intent, client: u32) -> Option<u32> {
        if is_answer(intent.target) {
            return (client == intent.sender).then_some(0);
        }
        if client == intent.sender || client >= self.clients {
            return None;
        }
        self.place(intent, client)
    }

    /// The seat from which nobody listens, if there is one.
    pub(crate) fn own_seat(&self, intent: &Intent) -> Option<u32> {
        if is_answer(intent.target) { None } else { self.place(intent, intent.sender) }
    }

    /// Who has a seat, the sender too.
    pub(crate) fn at_seat(&self, intent: &Intent, seat: u32) -> u32 {
        match intent.target {
            Target::Room(place) | Target::File(place) => self.mates(intent.sender, place)[seat as usize],
            Target::Client(to) => to,
            Target::All => seat,
            Target::Oneself | Target::Members(_) => intent.sender,
        }
    }

    /// The most rooms that anybody is in, and all rooms that there are.
    pub(super) fn room_counts(&self) -> (usize, usize) {
        (self.rooms.iter().map(Vec::len).max().unwrap_or_default(), self.members.len())
    }

    /// Where somebody sits, the sender too.
    fn place(&self, intent: &Intent, client: u32) -> Option<u32> {
        match intent.target {
            Target::Room(place) | Target::File(place) => {
                let seat = self.mates(intent.sender, place).binary_search(&client).ok()?;
                u32::try_from(seat).ok()
            }
            Target::Client(to) => (client == to).then_some(0),
            Target::All => Some(client),
            Target::Oneself | Target::Members(_) => (client == intent.sender).then_some(0),
        }
    }

    /// Everybody in a room of `client`, itself too.
    fn mates(&self, client: u32, place: u16) -> &[u32] {
        &self.members[self.rooms[client as usize][usize::from(place)] as usize]
    }

    fn room_name(&self, room: u32) -> String {
        format!("{}r{room}", self.prefix)
    }
}

/// Whether the server's answer is what its sender waits for.
fn is_answer(target: Target) -> bool {
    matches!(target, Target::Oneself | Target::Members(_))
}

#[cfg(test)]
mod tests {
    use units::Timestamp;

    use super::*;
    use crate::scenario::{Popularity, Rooms, Seats, load_str};

    #[test]
    fn seats_are_the_recipients_and_the_sender_whatever_the_target() {
        let text = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"c\", count = 30 }]\n\
                    phase = [{ name = \"p\", duration = \"1s\" }]\n";
        let mut scenario = load_str("t.toml", text, &[]).unwrap().scenario;
        scenario.clients[0].rooms =
            Rooms { seats: Seats::Count(6), per_client: 2, popularity: Popularity::Zipf { exponent: 1.0 } };
        let cast = Cast::new(&scenario, String::new());
        let targets = [
            Target::Room(0),
            Target::Room(1),
            Target::File(1),
            Target::Client(4),
            Target::All,
            Target::Oneself,
            Target::Members(1),
        ];
        for (sender, target) in (0..30).flat_map(|sender| targets.map(|target| (sender, target))) {
            let intended = Timestamp::ZERO;
            let intent = Intent { id: 0, workload: 0, sender, target, intended, phase: 0, size: 10 };
            let recipients: Vec<u32> = cast.recipients(&intent).collect();
            let seated = (0..cast.seats(&intent)).filter(|&seat| cast.own_seat(&intent) != Some(seat));
            assert_eq!(seated.map(|seat| cast.at_seat(&intent, seat)).collect::<Vec<_>>(), recipients);
            for client in 0..31 {
                let seat = cast.seat(&intent, client);
                assert_eq!(seat.is_some(), recipients.contains(&client), "{intent:?} to {client}");
                assert!(seat.is_none_or(|seat| cast.at_seat(&intent, seat) == client));
            }
        }
    }
}
