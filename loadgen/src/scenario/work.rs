//! `[[workload]]`: who does what, and how often.

use std::time::Duration;

use chat_core::connection::{Delivery, Reliability};
use chat_core::wire::Order;
use units::{Probability, format_duration};

use super::error::ScenarioError;
use super::parse::unknown_name;
use super::raw::quote;
use super::read::{Fields, View};
use super::{Activity, Arrival, ClientGroup, Phase, Scenario, Size, SpanLaw, arrival, schema, size, span};

#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub name: String,
    pub kind: WorkloadKind,
    /// Indices into [`Scenario::clients`](super::Scenario::clients): who does it.
    pub groups: Vec<usize>,
    pub pace: Pace,
    /// Bytes of text, or of a file.
    pub size: Size,
    /// Anything but ordered and reliable is for rooms.
    pub delivery: Delivery,
    /// Of [`WorkloadKind::Churn`] alone.
    pub churn: Option<Churn>,
    /// Workloads with a weight share their clients: each client does one of them, dealt in proportion. Without a weight,
    /// every client of the groups does this one.
    pub weight: Option<f64>,
    /// Indices into [`Scenario::phases`](super::Scenario::phases), ascending: when it is done. Phases that drain are
    /// never among them.
    pub phases: Vec<usize>,
    /// Messages that a client may have under way in an open loop; one more is counted as throttled, not sent.
    pub max_in_flight: Option<u32>,
    /// A message that is not heard this long after it was meant to be sent counts as lost, and arrives late after it.
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// To a room of the sender: every other member is a recipient. Written `room` or `group`.
    Room,
    /// To one other client, drawn for each message.
    Private,
    /// To every other client.
    Broadcast,
    /// A file to a room of the sender.
    File,
    /// Clients leave and come back.
    Churn,
    /// Clients ask the server who is in a room of theirs, and hear the answer.
    Presence,
    /// To oneself, by way of the server.
    Ping,
    /// Connected, and nothing else.
    Idle,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// When the schedule says, whatever came back. `per_second` is the mean of every process.
    Open { arrival: Arrival, per_second: f64, per: Per },
    /// Each client keeps this many messages unacknowledged, and thinks before it sends the next.
    Closed { in_flight: u32, think: SpanLaw },
    /// Nothing is sent: churn and idle.
    Still,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    Client,
    /// The rate is shared: each message comes from a client drawn by the seed.
    Total,
}

/// How clients come and go.
#[derive(Clone, Debug, PartialEq)]
pub struct Churn {
    /// From being welcomed to leaving.
    pub session: SpanLaw,
    /// From leaving to connecting again.
    pub off: SpanLaw,
    /// Share of departures without a word to the server.
    pub abrupt: Probability,
}

impl Workload {
    /// Messages that its schedule asks for, on average; of a closed loop, which has none, those it begins with.
    #[must_use]
    pub fn expected_messages(&self, clients: &[ClientGroup], phases: &[Phase]) -> f64 {
        let in_phase = |phase: &Phase| {
            let active: f64 =
                self.groups.iter().map(|&group| f64::from(phase.clients.of(clients[group].count))).sum();
            match self.pace {
                Pace::Open { per_second, per, .. } => {
                    let senders = if per == Per::Client { active } else { 1.0 };
                    senders * per_second * phase.rate * phase.duration.as_secs_f64()
                }
                Pace::Closed { .. } | Pace::Still => 0.0,
            }
        };
        match self.pace {
            Pace::Closed { in_flight, .. } => {
                let senders: f64 = self.groups.iter().map(|&group| f64::from(clients[group].count)).sum();
                senders * f64::from(in_flight)
            }
            _ => self.phases.iter().map(|&phase| in_phase(&phases[phase])).sum(),
        }
    }

    /// Whether a message of it may be given up before it has arrived, without that being a loss.
    #[must_use]
    pub fn may_give_up(&self) -> bool {
        self.delivery.order == Order::Latest || self.delivery.reliability != Reliability::Reliable
    }
}

impl WorkloadKind {
    /// As a scenario writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Private => "private",
            Self::Broadcast => "broadcast",
            Self::File => "file",
            Self::Churn => "churn",
            Self::Presence => "presence",
            Self::Ping => "ping",
            Self::Idle => "idle",
        }
    }

    /// Whether it sends nothing by a schedule.
    #[must_use]
    pub fn is_still(self) -> bool {
        matches!(self, Self::Churn | Self::Idle)
    }

    /// Whether it sends messages to other clients, which the ledger then expects to arrive.
    #[must_use]
    pub fn has_recipients(self) -> bool {
        matches!(self, Self::Room | Self::Private | Self::Broadcast | Self::File)
    }
}

pub(super) fn read(
    view: &View<'_>,
    clients: &[ClientGroup],
    phases: &[Phase],
) -> Result<Vec<Workload>, ScenarioError> {
    let items = view.named_items("name")?;
    if items.len() > usize::from(u16::MAX) {
        let problem = format!("{} workloads are too many; write at most {}", items.len(), u16::MAX);
        return Err(view.error(problem));
    }
    let mut workloads: Vec<Workload> = Vec::new();
    for (name, view) in items {
        let one = workload(name, &view, clients, phases)?;
        refuse_second_churn(&one, &workloads, &view, clients)?;
        workloads.push(one);
    }
    let messages: f64 = workloads.iter().map(|workload| workload.expected_messages(clients, phases)).sum();
    if messages > MAX_MESSAGES {
        let problem = format!(
            "asks for {messages:.0} messages; lower rates, clients or durations below {MAX_MESSAGES}"
        );
        return Err(view.error(problem));
    }
    Ok(workloads)
}

fn workload(
    name: String,
    view: &View<'_>,
    clients: &[ClientGroup],
    phases: &[Phase],
) -> Result<Workload, ScenarioError> {
    let fields = view.fields(&schema::WORKLOAD)?;
    let kind = fields.or("kind", WorkloadKind::Room, |view| view.choice(KINDS))?;
    refuse_foreign(&fields, kind)?;
    if kind.has_recipients() && clients.iter().map(|group| group.count).sum::<u32>() < 2 {
        return Err(fields.error("a single client has nobody to talk to; raise count in [[clients]]"));
    }
    let pace = if kind.is_still() { Pace::Still } else { pace(&fields)? };
    let is_open = matches!(pace, Pace::Open { .. });
    if !is_open {
        fields.refuse(&["max_in_flight"], "in a closed loop, whose bound is in_flight")?;
    }
    Ok(Workload {
        groups: fields.or("clients", (0..clients.len()).collect(), |view| senders(view, clients))?,
        pace,
        size: fields.or("size", Size::default_of(kind), |view| size::read(view, kind))?,
        delivery: fields.or("delivery", Delivery::default(), |view| delivery(view, kind))?,
        churn: (kind == WorkloadKind::Churn).then(|| churn(&fields)).transpose()?,
        weight: fields.get("weight").map(|view| view.number(LEAST_WEIGHT..=MOST_WEIGHT)).transpose()?,
        phases: fields.or("phases", loading(phases).collect(), |view| active_phases(view, phases))?,
        max_in_flight: fields.get("max_in_flight").map(|view| view.count(1..=MAX_IN_FLIGHT)).transpose()?,
        timeout: fields.get("timeout").map(|view| view.span()).transpose()?,
        name,
        kind,
    })
}

/// A client that leaves cannot leave once more by another schedule. Workloads with weights deal their clients apart.
fn refuse_second_churn(
    one: &Workload,
    earlier: &[Workload],
    view: &View<'_>,
    clients: &[ClientGroup],
) -> Result<(), ScenarioError> {
    if one.kind != WorkloadKind::Churn {
        return Ok(());
    }
    let churns = earlier.iter().filter(|other| other.kind == WorkloadKind::Churn);
    for other in churns.filter(|other| one.weight.is_none() || other.weight.is_none()) {
        if let Some(&group) = one.groups.iter().find(|group| other.groups.contains(group)) {
            return Err(view.error(format!(
                "\"{}\" comes and goes by workload.{} already; name other groups in clients, or give both a weight",
                clients[group].name, other.name
            )));
        }
    }
    Ok(())
}

/// Refuses keys that another kind would need.
fn refuse_foreign(fields: &Fields<'_>, kind: WorkloadKind) -> Result<(), ScenarioError> {
    let because = format!("with kind = \"{}\"", kind.name());
    if kind != WorkloadKind::Churn {
        fields.refuse(&["session", "off", "abrupt"], &because)?;
    }
    if kind.is_still() {
        fields.refuse(&["loop", "arrival", "in_flight", "think", "max_in_flight", "timeout"], &because)?;
    }
    if kind.is_still() || kind == WorkloadKind::Presence {
        fields.refuse(&["size"], &because)?;
    }
    Ok(())
}

fn loading(phases: &[Phase]) -> impl Iterator<Item = usize> {
    (0..phases.len()).filter(|&phase| phases[phase].activity == Activity::Load)
}

fn active_phases(view: &View<'_>, phases: &[Phase]) -> Result<Vec<usize>, ScenarioError> {
    let known = || loading(phases).map(|phase| phases[phase].name.as_str());
    let mut active = Vec::new();
    for item in view.items()? {
        let name = item.text()?;
        let phase = loading(phases).find(|&phase| phases[phase].name == name);
        let phase = phase.ok_or_else(|| unknown_name(&item, "phase with a duration", known()))?;
        if active.contains(&phase) {
            return Err(item.error(format!("\"{name}\" is listed twice; remove one")));
        }
        active.push(phase);
    }
    active.sort_unstable();
    Ok(active)
}

fn churn(fields: &Fields<'_>) -> Result<Churn, ScenarioError> {
    let Some(session) = fields.get("session") else {
        let example = "session = { dist = \"exp\", mean = \"30s\" }";
        return Err(fields.error(format!("session is missing; write for example {example}")));
    };
    Ok(Churn {
        session: span::read(&session)?,
        off: fields.or("off", SpanLaw::Fixed(DEFAULT_OFF), span::read)?,
        abrupt: fields.or("abrupt", Probability::ZERO, View::probability)?,
    })
}

fn pace(fields: &Fields<'_>) -> Result<Pace, ScenarioError> {
    let open = fields.or("loop", true, |view| view.choice(&[("open", true), ("closed", false)]))?;
    if !open {
        fields.refuse(&["arrival"], "in a closed loop, where acks pace the sender")?;
        return Ok(Pace::Closed {
            in_flight: fields.or("in_flight", 1, |view| view.count(1..=MAX_IN_FLIGHT))?,
            think: fields.or("think", SpanLaw::ZERO, span::read)?,
        });
    }
    fields.refuse(&["in_flight", "think"], "in an open loop; write loop = \"closed\"")?;
    match fields.get("arrival") {
        Some(view) => arrival::read(&view),
        None => Err(fields.error("arrival is missing; write for example arrival = { rate = \"2/s\" }")),
    }
}

fn senders(view: &View<'_>, clients: &[ClientGroup]) -> Result<Vec<usize>, ScenarioError> {
    let mut groups = Vec::new();
    for item in view.items()? {
        let name = item.text()?;
        let known = || clients.iter().map(|group| group.name.as_str());
        let index =
            known().position(|known| known == name).ok_or_else(|| unknown_name(&item, "group", known()))?;
        if groups.contains(&index) {
            return Err(item.error(format!("\"{name}\" is listed twice; remove one")));
        }
        groups.push(index);
    }
    if groups.is_empty() {
        return Err(view.error("nobody would send; name a group, or remove the key for all"));
    }
    Ok(groups)
}

fn delivery(view: &View<'_>, kind: WorkloadKind) -> Result<Delivery, ScenarioError> {
    let fields = view.fields(&schema::DELIVERY)?;
    let order = fields.or("order", Order::Ordered, |view| {
        let choices =
            [("ordered", Order::Ordered), ("unordered", Order::Unordered), ("latest", Order::Latest)];
        view.choice(&choices)
    })?;
    let reliability = fields.or("reliability", Reliability::Reliable, reliability)?;
    let delivery = Delivery { order, reliability };
    if delivery != Delivery::default() && kind != WorkloadKind::Room {
        return Err(view.error("is for rooms; private messages and broadcasts are ordered and reliable"));
    }
    Ok(delivery)
}

fn reliability(view: &View<'_>) -> Result<Reliability, ScenarioError> {
    if view.node.as_table().is_none() {
        return view.choice(&[("reliable", Reliability::Reliable)]);
    }
    let fields = view.fields(&schema::RELIABILITY)?;
    match (fields.get("attempts"), fields.get("deadline")) {
        (Some(attempts), None) => attempts.count(1..=MAX_ATTEMPTS).map(Reliability::Attempts),
        (None, Some(deadline)) => deadline.span().map(Reliability::Deadline),
        _ => Err(view.error("needs one of both; write { attempts = 1 } or { deadline = \"500ms\" }")),
    }
}

pub(super) fn decided(workload: &Workload, scenario: &Scenario) -> String {
    let names =
        |names: Vec<&String>| names.into_iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let groups = names(workload.groups.iter().map(|&group| &scenario.clients[group].name).collect());
    let phases = names(workload.phases.iter().map(|&phase| &scenario.phases[phase].name).collect());
    let kind = workload.kind;
    let mut lines = vec![
        "[[workload]]".to_owned(),
        format!("name = \"{}\"", workload.name),
        format!("kind = \"{}\"", kind.name()),
        format!("clients = [{groups}]"),
        format!("phases = [{phases}]"),
    ];
    lines.extend(workload.weight.map(|weight| format!("weight = {weight:?}")));
    match &workload.pace {
        Pace::Open { arrival, per_second, per } => {
            lines.push("loop = \"open\"".to_owned());
            lines.push(format!("arrival = {}", arrival::decided(arrival, *per_second, *per)));
        }
        Pace::Closed { in_flight, think } => {
            lines.push("loop = \"closed\"".to_owned());
            lines.push(format!("in_flight = {in_flight}"));
            lines.push(format!("think = {}", span::decided(think)));
        }
        Pace::Still => {}
    }
    lines.extend(workload.max_in_flight.map(|most| format!("max_in_flight = {most}")));
    lines.extend(workload.timeout.map(|timeout| format!("timeout = \"{}\"", format_duration(timeout))));
    if !kind.is_still() && kind != WorkloadKind::Presence {
        lines.push(format!("size = {}", size::decided(&workload.size)));
    }
    if kind == WorkloadKind::Room {
        lines.push(format!("delivery = {}", decided_delivery(workload.delivery)));
    }
    if let Some(Churn { session, off, abrupt }) = &workload.churn {
        lines.push(format!("session = {}", span::decided(session)));
        lines.push(format!("off = {}", span::decided(off)));
        lines.push(format!("abrupt = \"{abrupt}\""));
    }
    lines.join("\n") + "\n"
}

fn decided_delivery(delivery: Delivery) -> String {
    let order = match delivery.order {
        Order::Ordered => "ordered",
        Order::Unordered => "unordered",
        Order::Latest => "latest",
    };
    let reliability = match delivery.reliability {
        Reliability::Reliable => "\"reliable\"".to_owned(),
        Reliability::Attempts(attempts) => format!("{{ attempts = {attempts} }}"),
        Reliability::Deadline(span) => format!("{{ deadline = \"{}\" }}", format_duration(span)),
    };
    format!("{{ order = \"{order}\", reliability = {reliability} }}")
}

const KINDS: &[(&str, WorkloadKind)] = &[
    ("room", WorkloadKind::Room),
    ("group", WorkloadKind::Room),
    ("private", WorkloadKind::Private),
    ("broadcast", WorkloadKind::Broadcast),
    ("file", WorkloadKind::File),
    ("churn", WorkloadKind::Churn),
    ("presence", WorkloadKind::Presence),
    ("ping", WorkloadKind::Ping),
    ("idle", WorkloadKind::Idle),
];

/// A ledger of so many messages fills several gigabytes.
const MAX_MESSAGES: f64 = 100e6;

/// As many as `protocol.max_attempts` may be.
const MAX_ATTEMPTS: u32 = 1000;

/// The connection itself refuses more waiting messages than this (`max_queued_messages`).
const MAX_IN_FLIGHT: u32 = 4096;

/// Weights are shares of each other: beyond a million to one a client would have to be divided.
const LEAST_WEIGHT: f64 = 0.001;
const MOST_WEIGHT: f64 = 1000.0;

/// A person who comes back has noticed first.
const DEFAULT_OFF: Duration = Duration::from_secs(1);
