//! `[[clients]]`, `[[phase]]` and `[[workload]]`: who is there, when, and what they send.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::connection::{Delivery, Reliability};
use chat_core::wire::Order;

use super::error::ScenarioError;
use super::parse::unknown_name;
use super::read::{Fields, View};
use super::{
    Activity, Arrival, ClientGroup, LinkConfig, Pace, Per, Phase, Ramp, RampShape, Rooms, Seats, Size,
    SpanLaw, Workload, WorkloadKind, schema,
};
use crate::workload::{MAX_TEXT, MIN_TEXT};

pub(crate) fn clients(
    view: &View<'_>,
    links: &BTreeMap<String, LinkConfig>,
) -> Result<Vec<ClientGroup>, ScenarioError> {
    let groups = view
        .named_items("name")?
        .into_iter()
        .map(|(name, view)| client_group(name, &view, links))
        .collect::<Result<Vec<_>, _>>()?;
    if groups.is_empty() {
        return Err(view.error("there is no group; write at least one [[clients]]"));
    }
    let total: u64 = groups.iter().map(|group| u64::from(group.count)).sum();
    if total > u64::from(MAX_CLIENTS) {
        return Err(view.error(format!("{total} clients are too many; write at most {MAX_CLIENTS}")));
    }
    Ok(groups)
}

fn client_group(
    name: String,
    view: &View<'_>,
    links: &BTreeMap<String, LinkConfig>,
) -> Result<ClientGroup, ScenarioError> {
    let fields = view.fields(&schema::CLIENTS)?;
    let link = fields.get("link").map(|view| match view.text()? {
        known if links.contains_key(known) => Ok(known.to_owned()),
        _ => Err(unknown_name(&view, "link", links.keys().map(String::as_str))),
    });
    Ok(ClientGroup {
        name,
        count: fields.need("count")?.count(1..=MAX_CLIENTS)?,
        link: link.transpose()?,
        share: None,
        rooms: fields.or("rooms", Rooms::default(), |view| {
            let size = view.fields(&schema::ROOMS)?.get("size");
            let seats = size.map(|view| view.count(1..=MAX_CLIENTS).map(Seats::Size)).transpose()?;
            let default = Rooms::default();
            Ok(Rooms { seats: seats.unwrap_or(default.seats), ..default })
        })?,
        ramp: Ramp { over: fields.or("ramp", Duration::ZERO, View::duration)?, shape: RampShape::default() },
        stall: Duration::ZERO,
    })
}

pub(crate) fn phases(view: &View<'_>) -> Result<Vec<Phase>, ScenarioError> {
    let items = view.named_items("name")?;
    let last = items.len().saturating_sub(1);
    let phases = items
        .into_iter()
        .enumerate()
        .map(|(index, (name, view))| phase(name, &view, index == last))
        .collect::<Result<Vec<_>, _>>()?;
    if !phases.iter().any(|phase| phase.activity == Activity::Load) {
        return Err(
            view.error("no phase has a duration; write at least one [[phase]] with name and duration")
        );
    }
    Ok(phases)
}

fn phase(name: String, view: &View<'_>, is_last: bool) -> Result<Phase, ScenarioError> {
    let fields = view.fields(&schema::PHASE)?;
    let (duration, activity) = match (fields.get("duration"), fields.get("drain")) {
        (Some(duration), None) => (duration.span()?, Activity::Load),
        (None, Some(drain)) if is_last => (drain.span()?, Activity::Drain),
        (None, Some(drain)) => return Err(drain.error("only the last phase may drain; move it to the end")),
        _ => return Err(fields.error("write either duration or drain")),
    };
    if activity == Activity::Drain {
        fields.refuse(&["record"], "in a drain, where no message is sent")?;
    }
    Ok(Phase {
        record: fields.or("record", activity == Activity::Load, View::bool)?,
        ..Phase::new(name, duration, activity)
    })
}

pub(crate) fn workloads(
    view: &View<'_>,
    clients: &[ClientGroup],
    phases: &[Phase],
) -> Result<Vec<Workload>, ScenarioError> {
    let items = view.named_items("name")?;
    if items.len() > usize::from(u16::MAX) {
        return Err(view.error(format!(
            "{} workloads are too many; write at most {}",
            items.len(),
            u16::MAX
        )));
    }
    let workloads: Vec<Workload> = items
        .into_iter()
        .map(|(name, view)| workload(name, &view, clients, phases))
        .collect::<Result<_, _>>()?;
    check_volume(view, &workloads, clients, phases)?;
    Ok(workloads)
}

fn workload(
    name: String,
    view: &View<'_>,
    clients: &[ClientGroup],
    phases: &[Phase],
) -> Result<Workload, ScenarioError> {
    let fields = view.fields(&schema::WORKLOAD)?;
    let kind = fields.or("kind", WorkloadKind::Room, |view| {
        view.choice(&[
            ("room", WorkloadKind::Room),
            ("group", WorkloadKind::Room),
            ("private", WorkloadKind::Private),
            ("broadcast", WorkloadKind::Broadcast),
        ])
    })?;
    if clients.iter().map(|group| group.count).sum::<u32>() < 2 {
        return Err(fields.error("a single client has nobody to talk to; raise count in [[clients]]"));
    }
    let groups = fields.or("clients", (0..clients.len()).collect(), |view| senders(view, clients))?;
    let size = fields.or("size", Size::Fixed(DEFAULT_SIZE), size)?;
    let delivery = fields.or("delivery", Delivery::default(), |view| delivery(view, kind))?;
    Ok(Workload {
        name,
        kind,
        groups,
        pace: pace(&fields)?,
        size,
        delivery,
        churn: None,
        weight: None,
        phases: (0..phases.len()).filter(|&phase| phases[phase].activity == Activity::Load).collect(),
        max_in_flight: None,
        timeout: None,
    })
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

fn pace(fields: &Fields<'_>) -> Result<Pace, ScenarioError> {
    let open = fields.or("loop", true, |view| view.choice(&[("open", true), ("closed", false)]))?;
    if !open {
        fields.refuse(&["arrival"], "in a closed loop, where acks pace the sender")?;
        return Ok(Pace::Closed {
            in_flight: fields.or("in_flight", 1, |view| view.count(1..=MAX_IN_FLIGHT))?,
            think: SpanLaw::ZERO,
        });
    }
    fields.refuse(&["in_flight"], "in an open loop; write loop = \"closed\"")?;
    let Some(arrival) = fields.get("arrival") else {
        return Err(fields.error("arrival is missing; write for example arrival = { rate = \"2/s\" }"));
    };
    let arrival = arrival.fields(&schema::ARRIVAL)?;
    Ok(Pace::Open {
        arrival: if arrival
            .or("process", true, |view| view.choice(&[("poisson", true), ("constant", false)]))?
        {
            Arrival::Poisson
        } else {
            Arrival::Constant
        },
        per_second: arrival.need("rate")?.per_second()?,
        per: arrival
            .or("per", Per::Client, |view| view.choice(&[("client", Per::Client), ("total", Per::Total)]))?,
    })
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

fn size(view: &View<'_>) -> Result<Size, ScenarioError> {
    if view.node.as_table().is_none() {
        return Ok(Size::Fixed(text_size(view)?));
    }
    let fields = view.fields(&schema::SIZES)?;
    let uniform = fields.need("dist")?.choice(&[("uniform", true), ("lognormal", false)])?;
    let (low, high) = if uniform { ("min", "max") } else { ("median", "p99") };
    let (other, named) = if uniform { (["median", "p99"], "uniform") } else { (["min", "max"], "lognormal") };
    fields.refuse(&other, &format!("with dist = \"{named}\""))?;
    let (smaller, larger) = (text_size(&fields.need(low)?)?, text_size(&fields.need(high)?)?);
    if smaller > larger {
        return Err(fields.need(low)?.error(format!("is above {high}; swap them")));
    }
    Ok(if uniform {
        Size::Uniform { min: smaller, max: larger }
    } else {
        Size::LogNormal { median: smaller, p99: larger }
    })
}

fn text_size(view: &View<'_>) -> Result<u32, ScenarioError> {
    let size = view.bytes()?;
    let fits = u32::try_from(size.0).ok().filter(|size| (MIN_TEXT..=MAX_TEXT).contains(size));
    fits.ok_or_else(|| {
        view.error(format!("{size} is out of range; write {MIN_TEXT}B (a message's number) to {MAX_TEXT}B"))
    })
}

/// More than a hundred thousand connections do not fit one machine's ports and memory.
const MAX_CLIENTS: u32 = 100_000;

/// A line or two of chat.
const DEFAULT_SIZE: u32 = 200;

/// Refuses a schedule that no run could hold: every message is numbered and kept until the end.
fn check_volume(
    view: &View<'_>,
    workloads: &[Workload],
    clients: &[ClientGroup],
    phases: &[Phase],
) -> Result<(), ScenarioError> {
    let load = phases.iter().filter(|phase| phase.activity == Activity::Load);
    let seconds: f64 = load.map(|phase| phase.duration.as_secs_f64()).sum();
    let volume = |workload: &Workload| {
        let senders: f64 = workload.groups.iter().map(|&group| f64::from(clients[group].count)).sum();
        match workload.pace {
            Pace::Open { per_second, per: Per::Client, .. } => senders * per_second * seconds,
            Pace::Open { per_second, per: Per::Total, .. } => per_second * seconds,
            Pace::Closed { in_flight, .. } => senders * f64::from(in_flight),
            Pace::Still => 0.0,
        }
    };
    let messages: f64 = workloads.iter().map(volume).sum();
    if messages > MAX_MESSAGES {
        let problem = format!(
            "asks for {messages:.0} messages; lower rates, clients or durations below {MAX_MESSAGES}"
        );
        return Err(view.error(problem));
    }
    Ok(())
}

/// A ledger of so many messages fills several gigabytes.
const MAX_MESSAGES: f64 = 100e6;

/// As many as `protocol.max_attempts` may be.
const MAX_ATTEMPTS: u32 = 1000;

/// The connection itself refuses more waiting messages than this (`max_queued_messages`).
const MAX_IN_FLIGHT: u32 = 4096;
