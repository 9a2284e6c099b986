//! The links by name: the functions behind `/v1/links`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::http::StatusCode;
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::link::{Action, Counts, RunningLink, Workshop, check};
use super::plan::{LinkPlan, RawLink};
use super::registry::lock;
use super::written::Writer;

#[derive(Debug)]
pub(super) struct Links {
    workshop: Workshop,
    running: Mutex<BTreeMap<String, RunningLink>>,
}

/// A link as it is shown, with its revision.
#[derive(Clone, Debug)]
pub(super) struct LinkView {
    pub(super) revision: u64,
    pub(super) document: Value,
}

/// Which revision a change is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    Any,
    Revision(u64),
    /// Something that no link has had.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Created,
    Changed,
}

/// The body of a `PATCH`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    up: Value,
    #[serde(default)]
    down: Value,
}

impl Links {
    pub(super) fn new(workshop: Workshop) -> Self {
        Self { workshop, running: Mutex::default() }
    }

    pub(super) fn list(&self) -> Value {
        let running = lock(&self.running);
        json!({"links": running.values().map(document).collect::<Vec<_>>()})
    }

    pub(super) fn show(&self, name: &str) -> Result<LinkView, ApiError> {
        self.with(name, IfMatch::Any, |_| Ok(()))
    }

    /// Starts a link that must be new.
    pub(super) fn create(&self, body: &[u8]) -> Result<LinkView, ApiError> {
        let plan = LinkPlan::new(read(body)?, Writer::Remote)?;
        let mut running = lock(&self.running);
        if running.contains_key(&plan.name) {
            let text =
                format!("link \"{}\" exists already; change it with PATCH, or delete it first", plan.name);
            return Err(ApiError::new(StatusCode::CONFLICT, text));
        }
        self.start(&mut running, plan)
    }

    /// Makes the link of that name what the body says.
    pub(super) fn put(
        &self,
        name: &str,
        body: &[u8],
        if_match: IfMatch,
    ) -> Result<(Put, LinkView), ApiError> {
        let mut raw: RawLink = read(body)?;
        if !raw.name.is_empty() && raw.name != name {
            return Err(ApiError::bad_request(format!(
                "name: it is \"{}\" here and \"{name}\" in the path",
                raw.name
            )));
        }
        raw.name = name.to_owned();
        self.place(LinkPlan::new(raw, Writer::Remote)?, if_match)
    }

    /// Flows go on if only the profiles change; anything else starts the link anew.
    pub(super) fn place(&self, plan: LinkPlan, if_match: IfMatch) -> Result<(Put, LinkView), ApiError> {
        check(&plan)?;
        let mut running = lock(&self.running);
        let Some(link) = running.get_mut(&plan.name) else {
            if if_match != IfMatch::Any {
                return Err(changed_meanwhile());
            }
            return Ok((Put::Created, self.start(&mut running, plan)?));
        };
        if_match.check(link)?;
        if link.plan.place == plan.place {
            link.configure(plan.up, plan.down)?;
            return Ok((Put::Changed, view(link)));
        }
        link.replace(plan, &self.workshop)?;
        Ok((Put::Changed, view(link)))
    }

    pub(super) fn patch(&self, name: &str, body: &[u8], if_match: IfMatch) -> Result<LinkView, ApiError> {
        let change: Change = read(body)?;
        self.with(name, if_match, |link| {
            let up = link.plan.up.merged(&change.up, "up")?;
            let down = link.plan.down.merged(&change.down, "down")?;
            link.configure(up, down)
        })
    }

    pub(super) fn act(&self, name: &str, body: &[u8]) -> Result<LinkView, ApiError> {
        let action: Action = read(body)?;
        self.with(name, IfMatch::Any, |link| link.act(&action, &self.workshop))
    }

    pub(super) fn delete(&self, name: &str, if_match: IfMatch) -> Result<(), ApiError> {
        let mut running = lock(&self.running);
        if_match.check(running.get(name).ok_or_else(|| not_found(name))?)?;
        if let Some(link) = running.remove(name) {
            link.stop();
        }
        Ok(())
    }

    /// Every link's name and counts, for metrics.
    pub(super) fn counts(&self) -> Vec<(String, Counts)> {
        lock(&self.running).iter().map(|(name, link)| (name.clone(), link.counts())).collect()
    }

    fn start(
        &self,
        running: &mut BTreeMap<String, RunningLink>,
        plan: LinkPlan,
    ) -> Result<LinkView, ApiError> {
        check(&plan)?;
        if running.len() >= MAX_LINKS {
            let text = format!("there are {MAX_LINKS} links already; delete one first");
            return Err(ApiError::new(StatusCode::CONFLICT, text));
        }
        let link = RunningLink::start(plan, &self.workshop)?;
        let view = view(&link);
        running.insert(link.plan.name.clone(), link);
        Ok(view)
    }

    fn with(
        &self,
        name: &str,
        if_match: IfMatch,
        work: impl FnOnce(&mut RunningLink) -> Result<(), ApiError>,
    ) -> Result<LinkView, ApiError> {
        let mut running = lock(&self.running);
        let link = running.get_mut(name).ok_or_else(|| not_found(name))?;
        if_match.check(link)?;
        work(link)?;
        Ok(view(link))
    }
}

impl IfMatch {
    /// What an `If-Match` header says; one that is absent allows everything (RFC 9110 section 13.1.1).
    pub(super) fn parse(header: Option<&str>) -> Self {
        let Some(header) = header.map(str::trim) else { return IfMatch::Any };
        if header == "*" {
            return IfMatch::Any;
        }
        let number = header.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        number.and_then(|text| text.parse().ok()).map_or(IfMatch::Never, IfMatch::Revision)
    }

    fn check(self, link: &RunningLink) -> Result<(), ApiError> {
        match self {
            IfMatch::Any => Ok(()),
            IfMatch::Revision(revision) if revision == link.revision => Ok(()),
            _ => Err(changed_meanwhile()),
        }
    }
}

fn changed_meanwhile() -> ApiError {
    ApiError::new(StatusCode::PRECONDITION_FAILED, "the link is not as it was; get it again, then change it")
}

fn not_found(name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("no link \"{name}\"; GET /v1/links lists them"))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("body: {error}")))
}

fn view(link: &RunningLink) -> LinkView {
    LinkView { revision: link.revision, document: document(link) }
}

/// Times in µs, lateness in ns.
fn document(link: &RunningLink) -> Value {
    let place = &link.plan.place;
    let mut document = json!({
        "name": link.plan.name,
        "kind": place.kind,
        "listen": link.local_addr.to_string(),
        "upstream": place.upstream,
        "scope": place.scope,
        "seed": place.seed,
        "up": link.plan.up.to_string(),
        "down": link.plan.down.to_string(),
        "revision": link.revision,
    });
    let counts = match link.counts() {
        Counts::Packets(counts) => json!({
            "flows": {"open": counts.flows_open, "total": counts.flows},
            "counters": {"up": counts.up, "down": counts.down},
            "delay_us": {"up": quantiles(&counts.up_delays), "down": quantiles(&counts.down_delays)},
            "lateness_ns": quantiles(&counts.lateness),
            "harness": {
                "io_overrun": counts.io_overrun,
                "kernel_drops": counts.kernel_drops,
                "early": counts.early,
                "malformed": counts.malformed,
                "refused": counts.refused,
                "undeliverable": counts.undeliverable,
                "back_pressure": counts.back_pressure,
                "rebinds": counts.rebinds,
            },
            "spin_share": counts.timing.share_spun(),
            // A packet that the harness lost would look like one that the link lost.
            "valid": counts.io_overrun == 0
                && counts.kernel_drops == 0
                && counts.early == 0
                && counts.up.balance_holds()
                && counts.down.balance_holds(),
        }),
        Counts::Stream(counts) => json!({
            "flows": {"open": counts.connections_open, "total": counts.connections_total},
            "counters": counts,
            "valid": counts.over_limit == 0,
        }),
    };
    if let (Value::Object(document), Value::Object(counts)) = (&mut document, counts) {
        document.extend(counts);
    }
    document
}

fn quantiles(histogram: &Histogram<u64>) -> Value {
    let at = |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
    json!({"count": histogram.len(), "p50": at(0.5), "p99": at(0.99), "p99_9": at(0.999), "max": at(1.0)})
}

/// Each has a port, a socket and a thread of its own.
const MAX_LINKS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_revision_that_was_seen_matches() {
        for (header, means) in [
            (None, IfMatch::Any),
            (Some("*"), IfMatch::Any),
            (Some("\"3\""), IfMatch::Revision(3)),
            (Some("3"), IfMatch::Never),
            (Some("W/\"3\""), IfMatch::Never),
        ] {
            assert_eq!(IfMatch::parse(header), means, "{header:?}");
        }
    }
}
