//! `[link.NAME]`: both directions of an emulated network.
//!
//! `both` is read for each direction and `up` and `down` are laid over it, key by key, so an asymmetric link only
//! writes what differs; below them lies what the link `extends`. What is written becomes a [`Spec`] of the emulator, key by
//! key, and that a [`LinkProfile`]: the emulator has the last word on what a link may be. Events are laid over it when
//! phases are known (`weather`).

use std::collections::BTreeMap;
use std::time::Duration;

use netem_proxy::preset;
use netem_proxy::profile::LinkProfile;
use netem_proxy::spec::Spec;

use super::direction::{self, Direction};
use super::error::ScenarioError;
use super::extends::merge;
use super::raw::{Node, Table, Value};
use super::read::{View, join};
use super::{LinkConfig, Scope, schema};

pub(super) use super::weather::Weather;

/// A link without its events.
pub(super) struct Link<'a> {
    pub(super) view: View<'a>,
    pub(super) up: Side,
    pub(super) down: Side,
    scope: Scope,
    pub(super) events: Vec<View<'a>>,
}

/// One direction: as written, and what that means.
pub(super) struct Side {
    pub(super) spec: Spec,
    pub(super) profile: LinkProfile,
}

/// Every link by its name.
pub(super) fn read<'a>(view: &View<'a>) -> Result<BTreeMap<String, Link<'a>>, ScenarioError> {
    let entries = view.entries()?;
    entries.iter().map(|(name, link)| Ok(((*name).to_owned(), read_link(link, &entries)?))).collect()
}

impl Link<'_> {
    /// Mean delays of both directions together.
    pub(super) fn base_rtt(&self) -> Duration {
        self.up.profile.mean_delay() + self.down.profile.mean_delay()
    }

    /// With its events.
    pub(super) fn decide(self, name: &str, weather: &Weather<'_>) -> Result<LinkConfig, ScenarioError> {
        let (up, down) = weather.lay_over(name, &self)?;
        Ok(LinkConfig { up, down, scope: self.scope })
    }
}

fn read_link<'a>(view: &View<'a>, all: &[(&'a str, View<'a>)]) -> Result<Link<'a>, ScenarioError> {
    let fields = view.fields(&schema::LINK)?;
    let base = inherited(view, all)?;
    let side = |key: &'static str| {
        let mut written = Spec::default();
        // Innermost last: a link that extends another is laid over it.
        for layer in base.layers.iter().rev() {
            let empty = Node::new(Value::Table(Table::default()), &layer.node.place);
            let fields = layer.fields(&schema::LINK)?;
            let mut node = fields.get("both").map_or(empty, |both| both.node.clone());
            direction::expand(&mut node);
            // On its own first, so that an error in `both` is told as one.
            if let Some(both) = fields.get("both") {
                direction::read(&View { node: &node, path: both.path }, Direction::Link)?;
            }
            if let Some(side) = fields.get(key) {
                let mut over = side.node.clone();
                direction::expand(&mut over);
                merge(&mut node, over);
            }
            let layer_view = View { node: &node, path: join(&layer.path, key) };
            written = direction::over(direction::read(&layer_view, Direction::Link)?, written);
        }
        let preset = if key == "up" { base.up.clone() } else { base.down.clone() };
        let spec = direction::settle(direction::over(written, preset));
        let profile = spec.clone().profile().map_err(|problem| view.error(problem.to_string()))?;
        Ok::<_, ScenarioError>(Side { spec, profile })
    };
    Ok(Link {
        up: side("up")?,
        down: side("down")?,
        scope: fields.or("scope", Scope::PerClient, |view| {
            view.choice(&[("per-client", Scope::PerClient), ("shared", Scope::Shared)])
        })?,
        events: base.events()?,
        view: view.clone(),
    })
}

/// What a link begins as.
struct Inherited<'a> {
    /// The link itself, then the one that it extends, and so on.
    layers: Vec<View<'a>>,
    up: Spec,
    down: Spec,
}

impl<'a> Inherited<'a> {
    /// Those of the nearest link that has any.
    fn events(&self) -> Result<Vec<View<'a>>, ScenarioError> {
        for layer in &self.layers {
            if let Some(events) = layer.fields(&schema::LINK)?.get("event") {
                return events.items();
            }
        }
        Ok(Vec::new())
    }
}

fn inherited<'a>(view: &View<'a>, all: &[(&'a str, View<'a>)]) -> Result<Inherited<'a>, ScenarioError> {
    let mut layers = vec![view.clone()];
    loop {
        let last = &layers[layers.len() - 1];
        let Some(extends) = last.fields(&schema::LINK)?.get("extends") else {
            return Ok(Inherited { layers, up: Spec::default(), down: Spec::default() });
        };
        let name = extends.text()?;
        if let Some(builtin) = name.strip_prefix("builtin:") {
            let (up, down) = builtin_link(&extends, builtin)?;
            return Ok(Inherited { layers, up, down });
        }
        let Some((_, base)) = all.iter().find(|(known, _)| *known == name) else {
            let links = all.iter().map(|(known, _)| *known);
            let problem = super::error::suggest(name, links);
            return Err(
                extends.error(format!("\"{name}\" is no link; {problem}; presets are written builtin:wifi"))
            );
        };
        if layers.iter().any(|layer| layer.path == base.path) {
            return Err(extends.error(format!("\"{name}\" extends itself; break the circle")));
        }
        layers.push(base.clone());
    }
}

/// Both directions of a preset.
fn builtin_link(view: &View<'_>, name: &str) -> Result<(Spec, Spec), ScenarioError> {
    let Some(preset) = preset::find(name) else {
        let known = preset::all().iter().map(|preset| preset.name);
        return Err(view.error(format!("\"{name}\" is no preset; {}", super::error::suggest(name, known))));
    };
    let side = |text: &str| text.parse::<Spec>().map_err(|problem| view.error(problem.to_string()));
    Ok((side(preset.up)?, side(preset.down)?))
}
