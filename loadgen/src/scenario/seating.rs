//! Which rooms each client sits in.

use std::collections::BTreeMap;

use rand::RngExt;
use units::{Rng, Seed};

use super::{ClientGroup, Popularity, Rooms, Scenario, Seats};

/// The rooms of each client, by client index, ascending; see [`Scenario::memberships`].
pub(super) fn memberships(scenario: &Scenario, seed: &Seed) -> Vec<Vec<u32>> {
    let mut seating = Seating::new(scenario);
    scenario.clients.iter().flat_map(|group| seating.group(group, seed)).collect()
}

/// Which rooms there are, and where the next client goes.
struct Seating {
    filling: Filling,
    /// The first room of those that are counted, which all groups share.
    counted: u32,
    /// The first room that nobody has yet.
    free: u32,
    /// By first room: the next one to be dealt.
    dealt: BTreeMap<u32, u32>,
}

impl Seating {
    /// Rooms that are filled come first, then those that are counted, then those that belong to one group.
    fn new(scenario: &Scenario) -> Self {
        let mut filled = Filling::default();
        let mut counted = 0;
        for group in &scenario.clients {
            match group.rooms.seats {
                Seats::Size(size) if group.rooms.is_single() => {
                    for _ in 0..group.count {
                        filled.seat(size);
                    }
                }
                Seats::Size(_) => {}
                Seats::Count(count) => counted = counted.max(count),
            }
        }
        let first = filled.rooms();
        Self { filling: Filling::default(), counted: first, free: first + counted, dealt: BTreeMap::new() }
    }

    fn group(&mut self, group: &ClientGroup, seed: &Seed) -> Vec<Vec<u32>> {
        let Rooms { seats, per_client, popularity } = group.rooms;
        let (first, count) = match seats {
            Seats::Size(size) if group.rooms.is_single() => {
                return (0..group.count).map(|_| vec![self.filling.seat(size)]).collect();
            }
            Seats::Count(count) => (self.counted, count),
            Seats::Size(size) => {
                let seats = u64::from(group.count) * u64::from(per_client);
                let count =
                    u32::try_from(seats.div_ceil(u64::from(size))).unwrap_or(u32::MAX).max(per_client);
                self.free += count;
                (self.free - count, count)
            }
        };
        let next = self.dealt.entry(first).or_insert(0);
        let rooms = |place| match popularity {
            Popularity::Uniform => deal(next, per_client, count),
            Popularity::Zipf { exponent } => {
                draw(&mut group.stream(place, seed).fork("rooms").rng(), per_client, count, exponent)
            }
        };
        let numbered = |rooms: Vec<u32>| rooms.into_iter().map(|room| first + room).collect();
        (0..group.count).map(rooms).map(numbered).collect()
    }
}

/// The room that is being filled.
#[derive(Default)]
struct Filling {
    room: u32,
    members: u32,
}

impl Filling {
    fn seat(&mut self, size: u32) -> u32 {
        if self.members >= size {
            (self.room, self.members) = (self.room + 1, 0);
        }
        self.members += 1;
        self.room
    }

    fn rooms(&self) -> u32 {
        self.room + u32::from(self.members > 0)
    }
}

/// The next `wanted` rooms in turn; those of one client differ.
fn deal(next: &mut u32, wanted: u32, count: u32) -> Vec<u32> {
    let mut rooms: Vec<u32> = (0..wanted.min(count)).map(|at| (*next + at) % count).collect();
    *next = (*next + wanted) % count;
    rooms.sort_unstable();
    rooms
}

/// Different rooms by weight 1 / rank^exponent.
fn draw(rng: &mut Rng, wanted: u32, count: u32, exponent: f64) -> Vec<u32> {
    let weight = |room: u32| (f64::from(room) + 1.0).powf(-exponent);
    let mut rooms: Vec<u32> = Vec::new();
    while (rooms.len() as u32) < wanted.min(count) {
        let free = || (0..count).filter(|room| !rooms.contains(room));
        let total: f64 = free().map(weight).sum();
        let mut left = rng.random::<f64>() * total;
        let chosen = free().find(|&room| {
            left -= weight(room);
            left < 0.0
        });
        // Rounding may leave a trace of `left` behind the last room.
        let Some(room) = chosen.or_else(|| free().next_back()) else { break };
        rooms.push(room);
    }
    rooms.sort_unstable();
    rooms
}

#[cfg(test)]
mod tests {
    use super::super::load_str;
    use super::*;

    fn scenario(groups: &[(u32, Rooms)]) -> Scenario {
        let text = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"c\", count = 2 }]\n\
                    phase = [{ name = \"p\", duration = \"1s\" }]\n";
        let mut scenario = load_str("t.toml", text, &[]).unwrap().scenario;
        let one = scenario.clients[0].clone();
        let group = |(index, &(count, rooms)): (usize, &(u32, Rooms))| ClientGroup {
            name: format!("g{index}"),
            count,
            rooms,
            ..one.clone()
        };
        scenario.clients = groups.iter().enumerate().map(group).collect();
        scenario
    }

    fn rooms(seats: Seats, per_client: u32, popularity: Popularity) -> Rooms {
        Rooms { seats, per_client, popularity }
    }

    fn seated(groups: &[(u32, Rooms)]) -> Vec<Vec<u32>> {
        scenario(groups).memberships(&Seed::root(7))
    }

    #[test]
    fn one_room_each_is_filled_in_order_and_counted_rooms_are_dealt_behind() {
        let filled = |size| rooms(Seats::Size(size), 1, Popularity::Uniform);
        let counted = |count| rooms(Seats::Count(count), 1, Popularity::Uniform);
        assert_eq!(seated(&[(1, filled(2)), (2, filled(2))]), [[0], [0], [1]]);
        // Two groups that count share rooms; the second goes on where the first ended.
        assert_eq!(seated(&[(1, counted(2)), (1, filled(2)), (3, counted(2))]), [[1], [0], [2], [1], [2]]);
    }

    #[test]
    fn several_rooms_each_differ_and_fill_evenly() {
        let seated = seated(&[(10, rooms(Seats::Size(4), 2, Popularity::Uniform))]);
        let mut members = [0; 5];
        for rooms in &seated {
            assert!(rooms.len() == 2 && rooms[0] < rooms[1]);
            rooms.iter().for_each(|&room| members[room as usize] += 1);
        }
        assert_eq!(members, [4; 5]);
        // Nobody can be in more rooms than there are.
        assert_eq!(self::seated(&[(1, rooms(Seats::Count(2), 2, Popularity::Uniform))]), [[0, 1]]);
    }

    #[test]
    fn popular_rooms_have_members_by_their_rank() {
        let count = 20_000;
        let seated = seated(&[(count, rooms(Seats::Count(3), 1, Popularity::Zipf { exponent: 1.0 }))]);
        let mut members = [0_u32; 3];
        seated.iter().for_each(|rooms| members[rooms[0] as usize] += 1);
        // Weights 6 : 3 : 2; 4.4 standard deviations of a binomial share.
        for (members, share) in members.into_iter().zip([6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]) {
            let sigma = (share * (1.0 - share) / f64::from(count)).sqrt();
            assert!((f64::from(members) / f64::from(count) - share).abs() < 4.4 * sigma, "{members}");
        }
    }
}
