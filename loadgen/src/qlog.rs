//! Traces of a run as qlog files: what each traced connection end told, and what the emulator did to its path meanwhile.
//!
//! Times count from the start of the run's clock, so the handshake is there as well; the first phase begins at a marker.
//! The names of events are the transport's business ([`chat_core::trace::qlog`]).

use std::time::Duration;

use chat_core::trace::TraceEvent;
use chat_core::trace::qlog::{Dialect, Subject, Writer};
use netem_proxy::profile::{Gate, LinkProfile, Window};
use serde_json::json;
use units::Timestamp;

use crate::backend::RunRecord;
use crate::measure::RunIndex;
use crate::record::Side;
use crate::scenario::Scenario;

/// The trace of one connection end.
#[derive(Clone, Debug)]
pub struct Qlog {
    /// Of the file: `trace-client0.qlog`.
    pub name: String,
    subject: Subject,
    scenario: String,
    details: serde_json::Value,
    events: Vec<TraceEvent>,
    /// In the order of time.
    markers: Vec<(Timestamp, String)>,
}

impl Qlog {
    /// The whole file.
    #[must_use]
    pub fn render(&self, dialect: Dialect) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::begin(dialect, &self.subject, &mut out);
        writer.scenario(Timestamp::ZERO, &self.scenario, self.details.clone(), &mut out);
        let mut markers = self.markers.iter().peekable();
        for event in &self.events {
            while let Some((at, message)) = markers.next_if(|(at, _)| *at <= event.at) {
                writer.marker(*at, message, &mut out);
            }
            writer.event(event, &mut out);
        }
        for (at, message) in markers {
            writer.marker(*at, message, &mut out);
        }
        out
    }
}

/// What files of a run are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// How many the sweep has; files of a single one need no number.
    pub cells: usize,
    /// 0 is A, or the only one.
    pub arm: u32,
}

/// Both ends of every traced connection of a run. Empty if the scenario does not ask for them. Of the repeats only the first
/// is kept, as in the figures.
#[must_use]
pub fn traces(scenario: &Scenario, record: &RunRecord, at: RunIndex, seed: u64, names: Names) -> Vec<Qlog> {
    if !scenario.measure.qlog || at.repeat != 0 {
        return Vec::new();
    }
    let groups = scenario.groups();
    let clients = (0..).zip(&groups).take(scenario.measure.trace_clients as usize);
    let mut qlogs = Vec::new();
    for (client, &group) in clients {
        let link = scenario.clients[group].link.as_ref();
        let profiles = link.and_then(|name| Some((name, scenario.links.get(name)?)));
        let mut markers = vec![(record.began, "the first phase begins".to_owned())];
        if let Some((name, link)) = profiles {
            for (profile, way) in [(&link.up, "up"), (&link.down, "down")] {
                let span = record.ended.since(record.began);
                let changes = changes(profile, span).into_iter();
                markers
                    .extend(changes.map(|(at, what)| (record.began + at, format!("{name} {way}: {what}"))));
            }
        }
        markers.sort_by_key(|(at, _)| *at);
        for side in [Side::Client, Side::Server] {
            let own = record.traces.events().iter().filter(|(of, end, _)| (*of, *end) == (client, side));
            let mut events: Vec<TraceEvent> = own.map(|(.., event)| *event).collect();
            events.sort_by_key(|event| event.at);
            let end = if side == Side::Client { "client" } else { "server" };
            qlogs.push(Qlog {
                name: file_name(scenario, at, names, client, side),
                subject: Subject {
                    title: format!("{}, connection of client {client}", scenario.title),
                    name: format!("{end} {client}"),
                    is_client: side == Side::Client,
                },
                scenario: scenario.name.clone(),
                details: json!({
                    "seed": seed,
                    "transport": scenario.transport.name(),
                    "link": profiles.map(|(name, _)| name),
                    "up": profiles.map(|(_, link)| link.up.to_string()),
                    "down": profiles.map(|(_, link)| link.down.to_string()),
                }),
                events,
                markers: markers.clone(),
            });
        }
    }
    qlogs
}

/// `trace-client0.qlog`, `trace-cell2-server1.qlog`; of a single traced connection `trace.qlog` and `trace-server.qlog`; of arm
/// B `trace-b.qlog`.
fn file_name(scenario: &Scenario, at: RunIndex, names: Names, client: u32, side: Side) -> String {
    let cell = if names.cells > 1 { format!("-cell{}", at.cell) } else { String::new() };
    let is_single = scenario.measure.trace_clients.min(scenario.client_count()) == 1;
    let end = match (side, is_single) {
        (Side::Client, true) => String::new(),
        (Side::Server, true) => "-server".to_owned(),
        (Side::Client, false) => format!("-client{client}"),
        (Side::Server, false) => format!("-server{client}"),
    };
    let arm = if names.arm == 0 { "" } else { "-b" };
    format!("trace{cell}{end}{arm}.qlog")
}

/// What changes by itself within `span` from the link's origin, and when.
fn changes(profile: &LinkProfile, span: Duration) -> Vec<(Duration, String)> {
    let mut changes = Vec::new();
    for gate in &profile.gates {
        match gate {
            Gate::Blackout(window) => put_window(*window, span, "blackout", &mut changes),
            Gate::Hold(window) => put_window(*window, span, "hold", &mut changes),
            Gate::Rebind { at, every } => {
                let times = times(*at, *every, span);
                changes.extend(times.map(|at| (at, "flows get new addresses".to_owned())));
            }
            // Its turns are drawn as packets come; they show in the packets.
            Gate::Flap { .. } => {}
        }
    }
    let steps = profile.schedule.iter().filter(|step| step.at <= span);
    changes.extend(steps.map(|step| (step.at, format!("changes to {}", step.profile))));
    changes
}

fn put_window(window: Window, span: Duration, what: &str, changes: &mut Vec<(Duration, String)>) {
    for at in times(window.at, window.every, span) {
        changes.push((at, format!("{what} begins")));
        if at + window.duration <= span {
            changes.push((at + window.duration, format!("{what} ends")));
        }
    }
}

/// `first`, then `every` so often, up to `span`.
fn times(first: Duration, every: Option<Duration>, span: Duration) -> impl Iterator<Item = Duration> {
    let next = move |at: &Duration| every.map(|every| *at + every);
    std::iter::successors(Some(first), next).take_while(move |at| *at <= span).take(MAX_MARKERS)
}

/// Markers of one gate. More than any picture can show; a run of hours with a blackout each second has fewer.
const MAX_MARKERS: usize = 10_000;
