//! `[[link.NAME.event]]`: what happens to a link during the run.
//!
//! Events are decided when the scenario is read: each occurrence has its time, jitter included, which is drawn from the
//! scenario's seed and not from that of a repeat. So every repeat and every client has the same weather, and repeats
//! differ by their own chance alone. Spans in which nothing passes become [`Gate`]s, changes become [`Step`]s of a
//! schedule; times count from the beginning of the first phase, and whoever builds the links adds the time before it.

use std::time::Duration;

use netem_proxy::profile::{DelayModel, Gate, LinkProfile, LossModel, Step, Window};
use netem_proxy::spec::Spec;
use rand::RngExt;
use units::{Rng, Seed};

use super::direction::{self, Direction};
use super::error::ScenarioError;
use super::link::{Link, Side};
use super::parse::unknown_name;
use super::read::{Fields, View};
use super::{Phase, schema};

/// What events need to know.
pub(super) struct Weather<'a> {
    pub(super) phases: &'a [Phase],
    pub(super) seed: Seed,
}

/// One event, each occurrence of it decided.
struct Event {
    /// Beginning and end; an end of `None` is never.
    spans: Vec<(Duration, Option<Duration>)>,
    /// The same as a window, where nothing is drawn: then it needs no end.
    window: Option<Window>,
    up: Change,
    down: Change,
    rebind: bool,
}

/// What an event does to one direction.
#[derive(Default)]
struct Change {
    blackhole: bool,
    hold: bool,
    keys: Option<Spec>,
}

impl Weather<'_> {
    /// Both directions of `link` with its events.
    pub(super) fn lay_over(
        &self,
        name: &str,
        link: &Link<'_>,
    ) -> Result<(LinkProfile, LinkProfile), ScenarioError> {
        let mut events = Vec::new();
        for (index, view) in link.events.iter().enumerate() {
            let seed = self.seed.fork(&format!("link/{name}/event/{index}"));
            events.push(self.event(view, seed)?);
        }
        let wrong = |problem: String| link.view.error(problem);
        let up = changed(&link.up, &events, |event| &event.up).map_err(wrong)?;
        let mut up = up;
        up.gates.extend(events.iter().filter(|event| event.rebind).flat_map(rebinds));
        // The gates of a step replace those before it.
        let gates = up.gates.clone();
        up.schedule.iter_mut().for_each(|step| step.profile.gates.clone_from(&gates));
        let down = changed(&link.down, &events, |event| &event.down).map_err(wrong)?;
        for profile in [&up, &down] {
            profile.validate().map_err(|problem| wrong(problem.to_string()))?;
        }
        Ok((up, down))
    }

    fn event(&self, view: &View<'_>, seed: Seed) -> Result<Event, ScenarioError> {
        let fields = view.fields(&schema::EVENT)?;
        let rebind = fields.or("rebind", false, View::bool)?;
        let every = fields.get("every").map(|view| view.span()).transpose()?;
        let at = fields.get("at").map(|view| view.duration()).transpose()?.or(every);
        let Some(at) = at else { return Err(fields.error("at is missing; say when it happens")) };
        let [up, down] = changes(&fields, rebind)?;
        let stops = |change: &Change| change.blackhole || change.hold;
        let is_gate = stops(&up) || stops(&down);
        let duration = match fields.get("for") {
            Some(span) => Some(span.span()?),
            None if is_gate || (fields.get("every").is_some() && !rebind) => {
                return Err(fields.error("for is missing; say how long it lasts"));
            }
            None => None,
        };
        let jitter = fields.or("jitter", Duration::ZERO, View::duration)?;
        if let Some(every) = every
            && every <= duration.unwrap_or_default() + jitter
        {
            let problem = "is not above for and jitter together: the event would never end; raise it";
            return Err(fields.need("every")?.error(problem));
        }
        let first = at + fields.or("phase", Duration::ZERO, |view| self.begin_of(view))?;
        let window = duration.filter(|_| jitter.is_zero());
        let window = window.map(|duration| Window { at: first, duration, every });
        let mut spans = Vec::new();
        // What does not need each occurrence by itself has no bound on their number.
        let listed = window.is_none() || rebind || up.keys.is_some() || down.keys.is_some();
        let end = self.phases.iter().map(|phase| phase.duration).sum::<Duration>();
        let (mut at, mut rng) = (first, seed.rng());
        while listed && at <= end {
            if spans.len() == MOST_OCCURRENCES {
                return Err(view.error(format!("happens more than {MOST_OCCURRENCES} times; raise every")));
            }
            let begin = if jitter.is_zero() { at } else { at + drawn(jitter, &mut rng) };
            spans.push((begin, duration.map(|duration| begin + duration)));
            let Some(every) = every else { break };
            at += every;
        }
        Ok(Event { spans, window, up, down, rebind })
    }

    fn begin_of(&self, view: &View<'_>) -> Result<Duration, ScenarioError> {
        let name = view.text()?;
        match self.phases.iter().position(|phase| phase.name == name) {
            Some(index) => Ok(self.phases[..index].iter().map(|phase| phase.duration).sum()),
            None => Err(unknown_name(view, "phase", self.phases.iter().map(|phase| phase.name.as_str()))),
        }
    }
}

fn changes(fields: &Fields<'_>, rebind: bool) -> Result<[Change; 2], ScenarioError> {
    let Some(set) = fields.get("set") else {
        if rebind {
            return Ok(Default::default());
        }
        return Err(fields.error("set is missing; write for example set = { both = { blackhole = true } }"));
    };
    let sides = set.fields(&schema::EVENT_SET)?;
    let change = |key: &str| sides.or(key, Change::default(), |view| change(view));
    let both = |key: &str| {
        let (both, own) = (change("both")?, change(key)?);
        let keys = match (own.keys, both.keys) {
            (Some(own), Some(both)) => Some(direction::over(own, both)),
            (own, both) => own.or(both),
        };
        Ok(Change { blackhole: both.blackhole || own.blackhole, hold: both.hold || own.hold, keys })
    };
    let changes: [Change; 2] = [both("up")?, both("down")?];
    if changes.iter().all(|change| !change.blackhole && !change.hold && change.keys.is_none()) {
        return Err(set.error("changes nothing; write for example { both = { blackhole = true } }"));
    }
    Ok(changes)
}

fn change(view: &View<'_>) -> Result<Change, ScenarioError> {
    let fields = view.fields(&schema::DIRECTION)?;
    let spec = direction::read(view, Direction::Event)?;
    if !spec.gates.is_empty() || !spec.steps.is_empty() || spec.preset.is_some() {
        return Err(view.error("an event changes plain keys; write spans and steps in the link itself"));
    }
    Ok(Change {
        blackhole: fields.or("blackhole", false, View::bool)?,
        hold: fields.or("hold", false, View::bool)?,
        keys: (spec != Spec::default()).then_some(spec),
    })
}

/// At the end of each occurrence, when the network is back.
fn rebinds(event: &Event) -> impl Iterator<Item = Gate> + '_ {
    event.spans.iter().map(|&(begin, end)| Gate::Rebind { at: end.unwrap_or(begin), every: None })
}

/// One direction with its gates and steps.
fn changed(side: &Side, events: &[Event], of: impl Fn(&Event) -> &Change) -> Result<LinkProfile, String> {
    let mut profile = side.profile.clone();
    for event in events {
        let windows = || match event.window {
            Some(window) => vec![window],
            None => event.spans.iter().filter_map(once).collect(),
        };
        if of(event).blackhole {
            profile.gates.extend(windows().into_iter().map(Gate::Blackout));
        }
        if of(event).hold {
            profile.gates.extend(windows().into_iter().map(Gate::Hold));
        }
    }
    let patches: Vec<(&Event, &Spec)> =
        events.iter().filter_map(|event| Some((event, of(event).keys.as_ref()?))).collect();
    if patches.is_empty() {
        return Ok(profile);
    }
    if !profile.schedule.is_empty() {
        return Err("event: the link's spec has steps already; write all changes as events".to_owned());
    }
    let ends = patches.iter().flat_map(|(event, _)| &event.spans);
    let mut times: Vec<Duration> = ends.flat_map(|&(begin, end)| std::iter::once(begin).chain(end)).collect();
    times.sort_unstable();
    times.dedup();
    for at in times {
        let is_on = |event: &Event| {
            event.spans.iter().any(|&(begin, end)| begin <= at && end.is_none_or(|end| at < end))
        };
        // Later events win where two change the same key.
        let mut spec = side.spec.clone();
        for (_, keys) in patches.iter().filter(|(event, _)| is_on(event)) {
            spec = direction::over((*keys).clone(), spec);
        }
        let mut after = direction::settle(spec).profile().map_err(|problem| format!("event: {problem}"))?;
        after.gates.clone_from(&profile.gates);
        let set = words(&patches.iter().map(|(_, keys)| *keys).collect::<Vec<_>>(), &after);
        profile.schedule.push(Step { at, over: None, set, profile: Box::new(after) });
    }
    Ok(profile)
}

/// Below `jitter`. Whole milliseconds where there are any: these times are printed wherever the link is.
fn drawn(jitter: Duration, rng: &mut Rng) -> Duration {
    let later = jitter.mul_f64(rng.random());
    if jitter < Duration::from_millis(10) {
        return later;
    }
    Duration::from_millis(u64::try_from(later.as_millis()).unwrap_or(u64::MAX))
}

fn once(&(begin, end): &(Duration, Option<Duration>)) -> Option<Window> {
    Some(Window { at: begin, duration: end? - begin, every: None })
}

/// The keys that any of `patches` writes, as they are in `after`, in the words of a SPEC.
fn words(patches: &[&Spec], after: &LinkProfile) -> String {
    let wrote = |key: fn(&Spec) -> bool| patches.iter().any(|spec| key(spec));
    let mut shown = LinkProfile::default();
    let mut plain = Vec::new();
    if wrote(|spec| spec.loss.is_some()) {
        shown.loss = after.loss.clone();
        if after.loss == LossModel::None {
            plain.push("loss=0%");
        }
    }
    if wrote(|spec| spec.delay != Default::default()) {
        (shown.delay, shown.delay_correlation) = (after.delay.clone(), after.delay_correlation);
        if after.delay == DelayModel::Constant(Duration::ZERO) {
            plain.push("delay=0s");
        }
    }
    if wrote(|spec| spec.rate.is_some()) {
        shown.rate = after.rate.clone();
        if after.rate.is_none() {
            plain.push("rate=unlimited");
        }
    }
    if wrote(|spec| spec.queue.is_some()) {
        shown.queue = after.queue.clone();
    }
    if wrote(|spec| spec.duplicate.is_some()) {
        shown.duplicate = after.duplicate;
    }
    if wrote(|spec| spec.corrupt.is_some()) {
        shown.corrupt = after.corrupt;
    }
    if wrote(|spec| spec.reorder.is_some()) {
        shown.reorder = after.reorder;
    }
    if wrote(|spec| spec.mtu.is_some()) {
        shown.mtu = after.mtu;
    }
    if wrote(|spec| spec.order.is_some()) {
        shown.order = after.order;
    }
    let shown = (shown != LinkProfile::default()).then(|| shown.to_string());
    let words: Vec<&str> = shown.as_deref().into_iter().chain(plain).collect();
    words.join(" ")
}

/// One every second for three hours. Each one is a step that every client's link carries.
const MOST_OCCURRENCES: usize = 10_000;
