//! One proxy of the API: what it was told to be, and the relay that is it while it is enabled.
//!
//! The list of toxics lives here, not in the relay, because it outlives it: a disabled proxy keeps its toxics and takes
//! new ones.

use serde::Serialize;
use units::Seed;

use super::error::ApiError;
use super::json::{Field, Value};
use super::name;
use super::toxic::{ListedToxic, ToxicDraft};
use super::traffic::Traffic;
use crate::stream::{
    ConnectionInfo, Direction, Engine, MAX_TOXICS, StreamConfig, StreamCounters, StreamProxy, ToxicError,
    resolve_listen,
};

/// What a request, or a file, asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProxyPlan {
    pub(super) name: String,
    pub(super) listen: String,
    pub(super) upstream: String,
    pub(super) is_enabled: bool,
    /// Our extension: created with the proxy, before its first connection.
    pub(super) toxics: Vec<ListedToxic>,
}

impl ProxyPlan {
    /// `at` follows the names of missing fields: "" or " at proxy 3".
    pub(super) fn decode(body: &Value, at: &str) -> Result<Self, ApiError> {
        let mut fields = ProxyFields::enabled();
        fields.read(body)?;
        let ProxyFields { name, listen, upstream, is_enabled, toxics } = fields;
        if name.is_empty() {
            return Err(ApiError::missing(&format!("name{at}")));
        }
        if upstream.is_empty() {
            return Err(ApiError::missing(&format!("upstream{at}")));
        }
        name::check(&name)?;
        let drafts = toxics.iter().map(ToxicDraft::decode).collect::<Result<Vec<_>, _>>()?;
        let toxics = drafts.into_iter().map(ToxicDraft::finish).collect::<Result<Vec<_>, _>>()?;
        check_toxics(&toxics)?;
        Ok(Self { name, listen, upstream, is_enabled, toxics })
    }
}

pub(super) fn check_toxics(toxics: &[ListedToxic]) -> Result<(), ApiError> {
    if toxics.len() > MAX_TOXICS {
        return Err(ToxicError::TooMany { limit: MAX_TOXICS }.into());
    }
    toxics.iter().try_for_each(check_toxicity)?;
    let twice = |(at, one): (usize, &ListedToxic)| {
        toxics[..at].iter().any(|other| other.toxic.name == one.toxic.name)
    };
    if toxics.iter().enumerate().any(twice) {
        return Err(ApiError::toxic_exists());
    }
    Ok(())
}

/// The relay refuses it too, but a disabled proxy has none.
fn check_toxicity(listed: &ListedToxic) -> Result<(), ApiError> {
    let toxicity = listed.toxic.toxicity;
    if (0.0..=1.0).contains(&toxicity) {
        return Ok(());
    }
    Err(ToxicError::Toxicity { toxicity: toxicity.to_string() }.into())
}

/// The fields of a proxy as they are read, with what they are when absent.
struct ProxyFields {
    name: String,
    listen: String,
    upstream: String,
    is_enabled: bool,
    toxics: Vec<Value>,
}

impl ProxyFields {
    fn enabled() -> Self {
        let nothing = String::new;
        Self { name: nothing(), listen: nothing(), upstream: nothing(), is_enabled: true, toxics: Vec::new() }
    }

    fn read(&mut self, body: &Value) -> Result<(), ApiError> {
        const OF: &str = "Proxy";
        for (key, value) in body.members("toxiproxy.Proxy")? {
            match key.to_ascii_lowercase().as_str() {
                "name" => Field::new(OF, "name").text(value, &mut self.name)?,
                "listen" => Field::new(OF, "listen").text(value, &mut self.listen)?,
                "upstream" => Field::new(OF, "upstream").text(value, &mut self.upstream)?,
                "enabled" => Field::new(OF, "enabled").boolean(value, &mut self.is_enabled)?,
                "toxics" => self.toxics = value.elements("[]toxics.ToxicWrapper")?.to_vec(),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A proxy as it is listed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ProxyView {
    pub(super) name: String,
    pub(super) listen: String,
    pub(super) upstream: String,
    pub(super) enabled: bool,
    /// An accident of the original that clients have come to know.
    #[serde(rename = "Logger")]
    logger: Nothing,
    pub(super) toxics: Vec<ListedToxic>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Nothing {}

#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) name: String,
    /// What was asked for until the proxy has run, then where it listens: enabling it again comes back to the same port.
    listen: String,
    upstream: String,
    toxics: Vec<ListedToxic>,
    running: Option<StreamProxy>,
    seed: Seed,
    /// How often it has been started: each run has chance of its own, or every run would meet the same fates.
    runs: u64,
    /// Of the runs that have ended.
    past: Traffic,
    is_retired: bool,
}

impl Proxy {
    /// Not started yet, whatever the plan says.
    pub(super) fn new(plan: &ProxyPlan, seed: Seed) -> Self {
        Self {
            name: plan.name.clone(),
            listen: plan.listen.clone(),
            upstream: plan.upstream.clone(),
            toxics: plan.toxics.clone(),
            running: None,
            seed,
            runs: 0,
            past: Traffic::default(),
            is_retired: false,
        }
    }

    pub(super) fn view(&self) -> ProxyView {
        ProxyView {
            name: self.name.clone(),
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            enabled: self.running.is_some(),
            logger: Nothing {},
            toxics: self.toxics(),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.running.is_some()
    }

    /// Listens and relays; nothing if it does already.
    pub(super) fn start(&mut self, engine: &Engine) -> Result<(), ApiError> {
        if self.running.is_some() {
            return Ok(());
        }
        let seed = self.seed.fork(&format!("run/{}", self.runs));
        let toxics = self.toxics.iter().map(|listed| listed.toxic.clone()).collect();
        let config = StreamConfig::new(&self.name, &self.listen, &self.upstream, seed);
        let running = engine.open(StreamConfig { toxics, ..config })?;
        self.runs += 1;
        self.listen = running.local_addr().to_string();
        tracing::info!(name = self.name, listen = self.listen, upstream = self.upstream, "started a proxy");
        self.running = Some(running);
        Ok(())
    }

    /// Closes the listener and every connection.
    pub(super) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.past += Traffic::from(running.close());
            tracing::info!(name = self.name, listen = self.listen, "stopped a proxy");
        }
    }

    /// Stops it for good: whoever still holds it must not start it again.
    pub(super) fn retire(&mut self) {
        self.stop();
        self.is_retired = true;
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired
    }

    /// `listen`, `upstream` and `enabled` of a body. Another address drops the connections; toxics stay.
    pub(super) fn update(&mut self, body: &Value, engine: &Engine) -> Result<(), ApiError> {
        let mut fields = ProxyFields {
            listen: self.listen.clone(),
            upstream: self.upstream.clone(),
            is_enabled: self.is_enabled(),
            ..ProxyFields::enabled()
        };
        fields.read(body)?;
        if fields.upstream.is_empty() {
            return Err(ApiError::missing("upstream"));
        }
        self.move_to(&fields.listen, &fields.upstream, fields.is_enabled, engine)
    }

    pub(super) fn move_to(
        &mut self,
        listen: &str,
        upstream: &str,
        is_enabled: bool,
        engine: &Engine,
    ) -> Result<(), ApiError> {
        if self.differs(listen, upstream)? {
            self.stop();
            self.listen = listen.to_owned();
            self.upstream = upstream.to_owned();
        }
        self.enable(is_enabled, engine)
    }

    pub(super) fn enable(&mut self, is_enabled: bool, engine: &Engine) -> Result<(), ApiError> {
        if is_enabled {
            return self.start(engine);
        }
        self.stop();
        Ok(())
    }

    /// Whether this is another place: `localhost:3310` and `127.0.0.1:3310` are one.
    pub(super) fn differs(&self, listen: &str, upstream: &str) -> Result<bool, ApiError> {
        if upstream != self.upstream {
            return Ok(true);
        }
        if listen == self.listen {
            return Ok(false);
        }
        Ok(resolve_listen(listen)?.to_string() != self.listen)
    }

    /// Upstream first, each direction in the order of creation.
    pub(super) fn toxics(&self) -> Vec<ListedToxic> {
        let of = |direction| self.toxics.iter().filter(move |listed| listed.toxic.stream == direction);
        Direction::BOTH.into_iter().flat_map(of).cloned().collect()
    }

    pub(super) fn toxic(&self, name: &str) -> Result<&ListedToxic, ApiError> {
        let found = self.toxics.iter().find(|listed| listed.toxic.name == name);
        found.ok_or_else(ApiError::toxic_not_found)
    }

    pub(super) fn add_toxic(&mut self, draft: ToxicDraft) -> Result<&ListedToxic, ApiError> {
        if self.toxic(draft.name()).is_ok() {
            return Err(ApiError::toxic_exists());
        }
        let listed = draft.finish()?;
        self.install(listed.clone())?;
        self.toxic(&listed.toxic.name)
    }

    pub(super) fn install(&mut self, listed: ListedToxic) -> Result<(), ApiError> {
        if self.toxics.len() >= MAX_TOXICS {
            return Err(ToxicError::TooMany { limit: MAX_TOXICS }.into());
        }
        check_toxicity(&listed)?;
        if let Some(running) = &self.running {
            running.add_toxic(listed.toxic.clone())?;
        }
        self.toxics.push(listed);
        Ok(())
    }

    pub(super) fn update_toxic(&mut self, name: &str, body: &Value) -> Result<&ListedToxic, ApiError> {
        let updated = self.toxic(name)?.updated(body)?;
        self.change(updated)?;
        self.toxic(name)
    }

    /// Gives the toxic of that name other attributes or another toxicity.
    pub(super) fn change(&mut self, updated: ListedToxic) -> Result<(), ApiError> {
        check_toxicity(&updated)?;
        let name = &updated.toxic.name;
        if let Some(running) = &self.running {
            running.update_toxic(name, updated.toxic.kind, updated.toxic.toxicity)?;
        }
        let place = self.toxics.iter_mut().find(|listed| listed.toxic.name == *name);
        *place.ok_or_else(ApiError::toxic_not_found)? = updated;
        Ok(())
    }

    pub(super) fn remove_toxic(&mut self, name: &str) -> Result<(), ApiError> {
        self.toxic(name)?;
        self.toxics.retain(|listed| listed.toxic.name != name);
        if let Some(running) = &self.running {
            running.remove_toxic(name)?;
        }
        Ok(())
    }

    pub(super) fn remove_toxics(&mut self) -> Result<(), ApiError> {
        self.toxics.clear();
        if let Some(running) = &self.running {
            running.clear_toxics()?;
        }
        Ok(())
    }

    /// What it counts since it was started, and its live connections; nothing while it is disabled.
    pub(super) fn connections(&self) -> (StreamCounters, Vec<ConnectionInfo>) {
        let of = |running: &StreamProxy| (running.counters(), running.connections());
        self.running.as_ref().map(of).unwrap_or_default()
    }

    /// Everything it has carried, in all its runs.
    pub(super) fn traffic(&self) -> Traffic {
        let mut all = self.past;
        if let Some(running) = &self.running {
            all += Traffic::from(running.counters());
        }
        all
    }
}
