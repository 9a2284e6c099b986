//! `[[clients]]`: who is there, how they join, and which rooms they sit in.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use units::{Rng, Seed, format_duration};

use super::error::ScenarioError;
use super::parse::unknown_name;
use super::read::View;
use super::schema;

/// Clients that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientGroup {
    pub name: String,
    /// At least 1; decided, also where `share` was written.
    pub count: u32,
    /// Share of `run.clients`, 0 to 1, where that was written instead of a count.
    pub share: Option<f64>,
    /// Key into [`Scenario::links`](super::Scenario::links).
    pub link: Option<String>,
    pub rooms: Rooms,
    pub ramp: Ramp,
    /// A slow reader: after each message that it hears, it reads nothing for this long. Zero reads at once.
    pub stall: Duration,
}

/// How a group joins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// The last client begins to connect when this has passed, or before.
    pub over: Duration,
    pub shape: RampShape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RampShape {
    /// Evenly.
    #[default]
    Linear,
    /// So many batches of one size, the first at once.
    Step { steps: u32 },
    /// The number that has joined grows by the same factor in the same time.
    Exponential,
    /// At independent, uniform times: a Poisson process of which the number is known.
    Poisson,
}

/// Which rooms the clients of a group sit in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rooms {
    pub seats: Seats,
    /// Rooms that each client is in, at least 1.
    pub per_client: u32,
    /// Which of the rooms are chosen.
    pub popularity: Popularity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seats {
    /// Clients fill one room after another; each wants so many members in its own. At least 1.
    Size(u32),
    /// There are so many rooms, and groups that say so share them. At least 1.
    Count(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Popularity {
    /// Rooms are dealt, so that all have the same number of members, give or take one.
    #[default]
    Uniform,
    /// Rooms are drawn; that of rank r (from 1) with weight 1 / r^exponent.
    Zipf { exponent: f64 },
}

impl ClientGroup {
    /// How long after the first one client `place` (below `count`) begins to connect. `seed` is that of the run.
    #[must_use]
    pub fn start(&self, place: u32, seed: &Seed) -> Duration {
        self.ramp.start(place, self.count, || self.stream(place, seed).fork("ramp").rng())
    }

    /// The substream of chance of one client.
    pub(super) fn stream(&self, place: u32, seed: &Seed) -> Seed {
        seed.fork(&format!("client/{}/{place}", self.name))
    }
}

impl Ramp {
    /// Everybody at once.
    pub const NONE: Self = Self { over: Duration::ZERO, shape: RampShape::Linear };

    /// When client `place` of `count` begins; `chance` is asked for only where the shape draws.
    fn start(self, place: u32, count: u32, chance: impl FnOnce() -> Rng) -> Duration {
        match self.shape {
            RampShape::Linear => self.over * place / count,
            RampShape::Step { steps } => {
                let step = u64::from(place) * u64::from(steps) / u64::from(count);
                self.over * u32::try_from(step).unwrap_or(steps) / steps
            }
            // count^(t / over) clients have joined by t.
            RampShape::Exponential if count > 1 => {
                self.over.mul_f64(f64::from(place).ln_1p() / f64::from(count).ln())
            }
            RampShape::Exponential => Duration::ZERO,
            RampShape::Poisson => self.over.mul_f64(chance().random()),
        }
    }
}

impl Default for Rooms {
    /// A room in which a person can still follow the talk.
    fn default() -> Self {
        Self { seats: Seats::Size(10), per_client: 1, popularity: Popularity::Uniform }
    }
}

impl Rooms {
    /// Whether [`Scenario::rooms`](super::Scenario::rooms) says all: each client is in one room, and chance chose none of them.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.per_client == 1 && self.popularity == Popularity::Uniform
    }
}

pub(super) fn read(
    view: &View<'_>,
    links: &BTreeSet<String>,
    total: Option<u32>,
) -> Result<Vec<ClientGroup>, ScenarioError> {
    let mut groups = view
        .named_items("name")?
        .into_iter()
        .map(|(name, view)| group(name, &view, links))
        .collect::<Result<Vec<_>, _>>()?;
    if groups.is_empty() {
        return Err(view.error("there is no group; write at least one [[clients]]"));
    }
    share_out(view, &mut groups, total)?;
    let total: u64 = groups.iter().map(|group| u64::from(group.count)).sum();
    if total > u64::from(MAX_CLIENTS) {
        return Err(view.error(format!("{total} clients are too many; write at most {MAX_CLIENTS}")));
    }
    Ok(groups)
}

fn group(name: String, view: &View<'_>, links: &BTreeSet<String>) -> Result<ClientGroup, ScenarioError> {
    let fields = view.fields(&schema::CLIENTS)?;
    let link = fields.get("link").map(|view| match view.text()? {
        known if links.contains(known) => Ok(known.to_owned()),
        _ => Err(unknown_name(&view, "link", links.iter().map(String::as_str))),
    });
    let share = fields.get("share").map(|view| Ok(view.probability()?.get())).transpose()?;
    let count = match (share, fields.get("count")) {
        (Some(_), Some(count)) => {
            return Err(count.error("stands beside share; write one of them"));
        }
        // Decided when all shares are known.
        (Some(_), None) => 0,
        (None, _) => fields.need("count")?.count(1..=MAX_CLIENTS)?,
    };
    Ok(ClientGroup {
        name,
        count,
        share,
        link: link.transpose()?,
        rooms: fields.or("rooms", Rooms::default(), rooms)?,
        ramp: fields.or("ramp", Ramp::NONE, ramp)?,
        stall: fields.or("reader", Duration::ZERO, |view| {
            view.fields(&schema::READER)?.or("stall", Duration::ZERO, View::duration)
        })?,
    })
}

/// Divides `total` among the groups with a share, whole clients, none lost to rounding.
fn share_out(view: &View<'_>, groups: &mut [ClientGroup], total: Option<u32>) -> Result<(), ScenarioError> {
    let sum: f64 = groups.iter().filter_map(|group| group.share).sum();
    if sum == 0.0 && groups.iter().all(|group| group.share.is_none()) {
        return Ok(());
    }
    let Some(total) = total else {
        return Err(
            view.error("a share of how many? write [run] clients = 100, or count in the place of share")
        );
    };
    if (sum - 1.0).abs() > 1e-6 {
        return Err(view.error(format!("shares add up to {sum}; write shares that add up to 1")));
    }
    let (mut before, mut given) = (0.0, 0);
    for group in groups {
        let Some(share) = group.share else { continue };
        before += share;
        let up_to = (before * f64::from(total)).round() as u32;
        group.count = up_to.saturating_sub(given);
        given = up_to;
        if group.count == 0 {
            let name = &group.name;
            return Err(
                view.error(format!("{name} gets none of {total} clients; raise its share or run.clients"))
            );
        }
    }
    Ok(())
}

fn rooms(view: &View<'_>) -> Result<Rooms, ScenarioError> {
    let fields = view.fields(&schema::ROOMS)?;
    let default = Rooms::default();
    let seats = match (fields.get("size"), fields.get("count")) {
        (Some(size), Some(_)) => return Err(size.error("stands beside count; write one of them")),
        (Some(size), None) => Seats::Size(size.count(1..=MAX_CLIENTS)?),
        (None, Some(count)) => Seats::Count(count.count(1..=MAX_CLIENTS)?),
        (None, None) => default.seats,
    };
    let per_client = fields.or("per_client", 1, |view| view.count(1..=MOST_ROOMS))?;
    if let (Seats::Count(count), Some(view)) = (seats, fields.get("per_client"))
        && per_client > count
    {
        return Err(view.error(format!("{per_client} rooms of {count}? lower it or raise count")));
    }
    let popularity = fields.or("popularity", Popularity::Uniform, popularity)?;
    if popularity != Popularity::Uniform && matches!(seats, Seats::Size(_)) {
        return Err(view.error("rooms of a fixed size are all as popular; write count in the place of size"));
    }
    Ok(Rooms { seats, per_client, popularity })
}

fn popularity(view: &View<'_>) -> Result<Popularity, ScenarioError> {
    let text = view.text()?;
    if text == "uniform" {
        return Ok(Popularity::Uniform);
    }
    let exponent = text.strip_prefix("zipf(").and_then(|rest| rest.strip_suffix(')'));
    let exponent: Option<f64> = exponent.and_then(|number| number.trim().parse().ok());
    match exponent.filter(|exponent| (0.0..=MOST_EXPONENT).contains(exponent)) {
        Some(exponent) => Ok(Popularity::Zipf { exponent }),
        None => Err(view.error(format!(
            "\"{text}\" is no popularity; write uniform, or zipf(1.1) with an exponent of 0 to {MOST_EXPONENT}"
        ))),
    }
}

/// A duration, or a table.
pub(super) fn ramp(view: &View<'_>) -> Result<Ramp, ScenarioError> {
    if view.node.as_table().is_none() {
        return Ok(Ramp { over: view.duration()?, shape: RampShape::Linear });
    }
    let fields = view.fields(&schema::RAMP)?;
    let steps = RampShape::Step { steps: fields.or("steps", 10, |view| view.count(1..=MOST_STEPS))? };
    let shape = fields.or("shape", RampShape::Linear, |view| {
        view.choice(&[
            ("linear", RampShape::Linear),
            ("step", steps),
            ("exp", RampShape::Exponential),
            ("poisson", RampShape::Poisson),
        ])
    })?;
    if shape != steps {
        fields.refuse(&["steps"], "without shape = \"step\"")?;
    }
    Ok(Ramp { over: fields.need("over")?.duration()?, shape })
}

pub(super) fn decided(group: &ClientGroup) -> String {
    let ClientGroup { name, count, share, rooms, ramp, stall, .. } = group;
    let number = share.map_or_else(|| format!("count = {count}"), |share| format!("share = {share:?}"));
    let seats = match rooms.seats {
        Seats::Size(size) => format!("size = {size}"),
        Seats::Count(count) => format!("count = {count}"),
    };
    let popularity = match rooms.popularity {
        Popularity::Uniform => "uniform".to_owned(),
        Popularity::Zipf { exponent } => format!("zipf({exponent})"),
    };
    let (per_client, ramp, stall) = (rooms.per_client, decided_ramp(*ramp), format_duration(*stall));
    format!(
        "[[clients]]\nname = \"{name}\"\n{number}\n\
         rooms = {{ {seats}, per_client = {per_client}, popularity = \"{popularity}\" }}\n\
         ramp = {ramp}\nreader = {{ stall = \"{stall}\" }}\n"
    )
}

/// The value of `ramp`.
pub(super) fn decided_ramp(ramp: Ramp) -> String {
    let (shape, steps) = match ramp.shape {
        RampShape::Linear => ("linear", String::new()),
        RampShape::Step { steps } => ("step", format!(", steps = {steps}")),
        RampShape::Exponential => ("exp", String::new()),
        RampShape::Poisson => ("poisson", String::new()),
    };
    format!("{{ over = \"{}\", shape = \"{shape}\"{steps} }}", format_duration(ramp.over))
}

/// More than a hundred thousand connections do not fit one machine's ports and memory.
pub(super) const MAX_CLIENTS: u32 = 100_000;

/// Rooms of one client. Few people follow a hundred; a server may well refuse more.
const MOST_ROOMS: u32 = 100;

/// At 10 the second room has a thousandth of the first one's members already.
const MOST_EXPONENT: f64 = 10.0;

/// A batch for each client is a linear ramp.
const MOST_STEPS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_ramp_keeps_its_shape_and_its_span() {
        let start = |shape, place, count| {
            let chance = || Seed::root(1).fork(&format!("{place}")).rng();
            Ramp { over: 1000 * MS, shape }.start(place, count, chance)
        };
        assert_eq!(
            [0, 1, 3].map(|place| start(RampShape::Linear, place, 4)),
            [0, 250, 750].map(|ms| ms * MS)
        );
        let steps = RampShape::Step { steps: 2 };
        assert_eq!([0, 4, 5, 9].map(|place| start(steps, place, 10)), [0, 0, 500, 500].map(|ms| ms * MS));
        // 1, 10 and 100 of a hundred have joined at the beginning, in the middle and at the end.
        let growing = |place| start(RampShape::Exponential, place, 100).as_millis();
        assert_eq!([0, 9, 99].map(growing), [0, 500, 1000]);
        assert_eq!(start(RampShape::Exponential, 0, 1), Duration::ZERO);
        let drawn: Vec<Duration> = (0..1000).map(|place| start(RampShape::Poisson, place, 1000)).collect();
        assert!(drawn.iter().all(|&at| at < 1000 * MS));
        // Uniform on a second: the mean of a thousand has a standard deviation of 9.1 ms.
        let mean = drawn.iter().sum::<Duration>() / 1000;
        assert!(mean.abs_diff(500 * MS) < 40 * MS, "{mean:?}");
    }
}
