//! A link of `/v1/links` or of a configuration file: as written, and as meant.

use std::net::{SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::name;
use super::written::{Writer, Written};
use crate::preset::{self, Preset};
use crate::proxy::Scope;
use crate::stream::resolve_listen;
use crate::timing::Timing;

/// What a link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// UDP.
    Datagrams,
    /// TCP connections of length-prefixed frames.
    Frames,
    /// TCP connections of any bytes.
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sharing {
    #[default]
    PerFlow,
    Shared,
}

impl From<Sharing> for Scope {
    fn from(sharing: Sharing) -> Self {
        match sharing {
            Sharing::PerFlow => Scope::PerFlow,
            Sharing::Shared => Scope::Shared,
        }
    }
}

/// The fields of a link. Unknown ones are refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawLink {
    #[serde(default)]
    pub(super) name: String,
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) listen: String,
    pub(super) upstream: String,
    #[serde(default)]
    pub(super) scope: Sharing,
    pub(super) seed: Option<u64>,
    /// How the link's thread waits; the server's way when absent.
    pub(super) timing: Option<String>,
    /// What to begin with; the keys of `up` and `down` win.
    pub(super) preset: Option<String>,
    #[serde(default)]
    pub(super) up: String,
    #[serde(default)]
    pub(super) down: String,
}

/// A link that can be started: every value has been understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LinkPlan {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) up: Written,
    pub(super) down: Written,
}

/// Everything about a link that cannot change while it runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) listen: SocketAddr,
    /// As written; a stream resolves it again for each connection.
    pub(super) upstream: String,
    pub(super) upstream_address: SocketAddr,
    pub(super) scope: Sharing,
    pub(super) seed: Option<u64>,
    pub(super) timing: Option<Timing>,
}

impl LinkPlan {
    /// Understands every field; looks up names, so it may take as long as the system's resolver.
    pub(super) fn new(raw: RawLink, writer: Writer) -> Result<Self, ApiError> {
        if raw.name.is_empty() {
            return Err(ApiError::bad_request("name: it is empty; write what the link is to be called"));
        }
        name::check(&raw.name)?;
        let listen = resolve_listen(&raw.listen).map_err(|why| {
            ApiError::bad_request(format!("listen: {why}; write host:port, or :0 for any port"))
        })?;
        let upstream_address = resolve_upstream(&raw.upstream)?;
        let timing = raw.timing.as_deref().map(str::parse).transpose();
        let timing = timing.map_err(|error| ApiError::bad_request(format!("timing: {error}")))?;
        if timing.is_some() && raw.kind == Kind::Stream {
            let text = "timing: streams share the server's threads; leave it out, and start the server with --timing";
            return Err(ApiError::bad_request(text));
        }
        let preset = raw.preset.as_deref().map(find_preset).transpose()?;
        let base = |text: &str| Written::parse(text, "preset", Writer::Local);
        let up = base(preset.map_or("", |preset| preset.up))?.under(&raw.up, "up", writer)?;
        let down = base(preset.map_or("", |preset| preset.down))?.under(&raw.down, "down", writer)?;
        let place = Place {
            kind: raw.kind,
            listen,
            upstream: raw.upstream,
            upstream_address,
            scope: raw.scope,
            seed: raw.seed,
            timing,
        };
        Ok(Self { name: raw.name, place, up, down })
    }
}

fn find_preset(name: &str) -> Result<&'static Preset, ApiError> {
    preset::find(name).ok_or_else(|| {
        let hint = match preset::nearest(name) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "GET /v1/presets lists them".to_owned(),
        };
        ApiError::bad_request(format!("preset: \"{name}\" is none; {hint}"))
    })
}

fn resolve_upstream(text: &str) -> Result<SocketAddr, ApiError> {
    let wrong = |why: &str| {
        ApiError::bad_request(format!(
            "upstream: \"{text}\": {why}; write host:port, for example 127.0.0.1:8888"
        ))
    };
    let mut found = text.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
    found.next().ok_or_else(|| wrong("it has no address"))
}
