//! A configuration file in TOML: proxies with their toxics, and links.
//!
//! `examples/serve.toml` shows every key. Unknown ones are refused with the line they are on, and a wrong value names the
//! line of its table: a file is read by people, and a misspelt key would otherwise be a toxic that never acts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::error::ApiError;
use super::link;
use super::name;
use super::plan::{LinkPlan, RawLink};
use super::proxy::{ProxyPlan, check_toxics};
use super::toxic::ListedToxic;
use super::written::Writer;
use crate::stream::{Direction, Toxic, ToxicKind};

/// What a file asks for; everything in it has been understood.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Config {
    /// Of all chance, unless the command line says otherwise.
    pub seed: Option<u64>,
    pub(super) proxies: BTreeMap<String, ProxyPlan>,
    pub(super) links: BTreeMap<String, LinkPlan>,
}

/// Why a file is refused: `serve.toml:12: proxy "redis": missing required field: upstream`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ConfigError {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawConfig {
    seed: Option<u64>,
    #[serde(default)]
    proxy: Vec<Spanned<RawProxy>>,
    #[serde(default)]
    link: Vec<Spanned<RawLink>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawProxy {
    name: String,
    #[serde(default)]
    listen: String,
    upstream: String,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    toxic: Vec<Spanned<RawToxic>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawToxic {
    name: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    stream: Stream,
    #[serde(default = "certain")]
    toxicity: f32,
    #[serde(default)]
    attributes: BTreeMap<String, i64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stream {
    Upstream,
    #[default]
    Downstream,
}

fn yes() -> bool {
    true
}

fn certain() -> f32 {
    1.0
}

impl Config {
    /// Reads a whole file; looks up the names of links' upstreams, so it may take as long as the system's resolver.
    ///
    /// # Errors
    /// The first thing that is wrong, with `file` and its line.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let error = |at: Range<usize>, message: String| ConfigError {
            file: file.to_owned(),
            line: text[..at.start.min(text.len())].matches('\n').count() + 1,
            message,
        };
        let raw: RawConfig = toml::from_str(text)
            .map_err(|wrong| error(wrong.span().unwrap_or_default(), wrong.message().replace('\n', " ")))?;
        let mut config = Self { seed: raw.seed, ..Self::default() };
        for proxy in raw.proxy {
            let span = proxy.span();
            let proxy = proxy.into_inner();
            let at = format!("proxy \"{}\"", proxy.name);
            let plan = plan(proxy)
                .map_err(|(inner, why)| error(inner.unwrap_or(span.clone()), format!("{at}: {why}")))?;
            insert(&mut config.proxies, plan.name.clone(), plan)
                .map_err(|why| error(span, format!("{at}: {why}")))?;
        }
        for link in raw.link {
            let span = link.span();
            let at = format!("link \"{}\"", link.get_ref().name);
            let plan = LinkPlan::new(link.into_inner(), Writer::Local)
                .and_then(|plan| link::check(&plan).map(|()| plan));
            let plan = plan.map_err(|why| error(span.clone(), format!("{at}: {why}")))?;
            insert(&mut config.links, plan.name.clone(), plan)
                .map_err(|why| error(span, format!("{at}: {why}")))?;
        }
        Ok(config)
    }

    /// How many proxies and links.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.proxies.len(), self.links.len())
    }
}

/// An error, and where it is if not in the table as a whole.
type At = (Option<Range<usize>>, ApiError);

fn plan(raw: RawProxy) -> Result<ProxyPlan, At> {
    let nowhere = |error| (None, error);
    for (field, value) in [("name", &raw.name), ("upstream", &raw.upstream)] {
        if value.is_empty() {
            return Err(nowhere(ApiError::missing(field)));
        }
    }
    name::check(&raw.name).map_err(nowhere)?;
    let toxics = raw.toxic.into_iter().map(|raw| {
        let span = raw.span();
        toxic(raw.into_inner()).map_err(|error| (Some(span), error))
    });
    let toxics = toxics.collect::<Result<Vec<_>, At>>()?;
    check_toxics(&toxics).map_err(nowhere)?;
    Ok(ProxyPlan {
        name: raw.name,
        listen: raw.listen,
        upstream: raw.upstream,
        is_enabled: raw.enabled,
        toxics,
    })
}

fn toxic(raw: RawToxic) -> Result<ListedToxic, ApiError> {
    let stream = match raw.stream {
        Stream::Upstream => Direction::Upstream,
        Stream::Downstream => Direction::Downstream,
    };
    let Some(mut kind) = ToxicKind::from_name(&raw.kind) else {
        return Err(ApiError::bad_request(format!(
            "type: \"{}\" is not a toxic; write for example latency",
            raw.kind
        )));
    };
    if !(0.0..=1.0).contains(&raw.toxicity) {
        return Err(ApiError::bad_request(format!(
            "toxicity: {} is not a chance; write 0.0 to 1.0",
            raw.toxicity
        )));
    }
    for (attribute, value) in &raw.attributes {
        if !kind.set_attribute(attribute, *value) {
            let known: Vec<_> = kind.attributes().into_iter().map(|(name, _)| name).collect();
            let text =
                format!("attributes: {} has no \"{attribute}\"; it has {}", raw.kind, known.join(", "));
            return Err(ApiError::bad_request(text));
        }
    }
    let name = raw.name.unwrap_or_else(|| format!("{}_{stream}", raw.kind));
    name::check(&name)?;
    Ok(ListedToxic::new(Toxic { name, stream, toxicity: raw.toxicity, kind }))
}

fn insert<T>(map: &mut BTreeMap<String, T>, name: String, value: T) -> Result<(), &'static str> {
    match map.entry(name) {
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
        Entry::Occupied(_) => Err("its name is used twice; write another one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, "serve.toml").expect_err("wrong").to_string()
    }

    #[test]
    fn the_annotated_example_is_valid_and_shows_every_key() {
        let text = include_str!("../../examples/serve.toml");
        let config = Config::parse(text, "serve.toml").expect("valid");
        assert_eq!(config.len(), (2, 3));
        for key in [
            "seed",
            "name",
            "listen",
            "upstream",
            "enabled",
            "type",
            "stream",
            "toxicity",
            "attributes",
            "kind",
            "preset",
            "scope",
            "timing",
            "up",
            "down",
        ] {
            assert!(text.lines().any(|line| line.trim_start().starts_with(&format!("{key} = "))), "{key}");
        }
    }

    #[test]
    fn a_wrong_file_says_where_and_what() {
        for (text, message) in [
            (
                "seed = 1\nsed = 2\n",
                "serve.toml:2: unknown field `sed`, expected one of `seed`, `proxy`, `link`",
            ),
            ("[[proxy]]\nname = \"a\"\n", "serve.toml:1: missing field `upstream`"),
            (
                "\n[[proxy]]\nname = \"a\"\nupstream = \"\"\n",
                "serve.toml:2: proxy \"a\": missing required field: upstream",
            ),
            (
                "[[proxy]]\nname = \"a\"\nupstream = \"b:1\"\n[[proxy.toxic]]\ntype = \"latency\"\nattributes = { delay = 1 }\n",
                "serve.toml:4: proxy \"a\": attributes: latency has no \"delay\"; it has latency, jitter",
            ),
            (
                "[[link]]\nname = \"w\"\nkind = \"datagrams\"\nupstream = \"127.0.0.1:9\"\nup = \"los=1%\"\n",
                "serve.toml:1: link \"w\": up: column 1: \"los\" is not a key; did you mean \"loss\"?",
            ),
            (
                "[[link]]\nname = \"w\"\nkind = \"stream\"\nupstream = \"127.0.0.1:9\"\nup = \"loss=1%\"\n",
                "serve.toml:1: link \"w\": up: loss: a TCP relay cannot lose: the sender's kernel has already seen the bytes arrive; use `frames`, `datagrams` or `run`",
            ),
            (
                "[[proxy]]\nname = \"a\"\nupstream = \"b:1\"\n[[proxy]]\nname = \"a\"\nupstream = \"b:1\"\n",
                "serve.toml:4: proxy \"a\": its name is used twice; write another one",
            ),
        ] {
            assert_eq!(error(text), message);
        }
    }
}
