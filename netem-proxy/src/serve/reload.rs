//! Makes a running server what a file says, and again each time the file changes.
//!
//! The file owns what it names, and nothing else: proxies that clients have made are left alone. What it says the same
//! as last time is not touched, whatever clients have done to it since, so connections live through an edit elsewhere in
//! the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Served;
use super::config::{Config, ConfigError};
use super::error::ApiError;
use super::links::IfMatch;
use super::proxy::{Proxy, ProxyPlan};
use super::toxic::ListedToxic;

/// A configuration file and what of it is in force.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    served: Arc<Served>,
    /// As last read, whether it was good or not.
    text: Option<String>,
    applied: Config,
}

/// What a look at the file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The same text as last time.
    Unchanged,
    Applied {
        proxies: usize,
        links: usize,
    },
}

/// Why the file is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{}: {error}; check the name and its permissions", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    /// Refused as a whole; nothing has changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Understood, but not everything could be done: a port is in use. The rest is in force.
    #[error("{}: {}", path.display(), failures.join("; "))]
    Failed { path: PathBuf, failures: Vec<String> },
}

impl ConfigFile {
    pub(super) fn new(path: PathBuf, served: Arc<Served>) -> Self {
        Self { path, served, text: None, applied: Config::default() }
    }

    /// Reads the file and, if it has changed, makes the server what it says. Blocks.
    ///
    /// # Errors
    /// The file could not be read, understood, or wholly done.
    pub fn load(&mut self) -> Result<Reload, ReloadError> {
        let unreadable = |error| ReloadError::Unreadable { path: self.path.clone(), error };
        let text = std::fs::read_to_string(&self.path).map_err(unreadable)?;
        if self.text.as_ref() == Some(&text) {
            return Ok(Reload::Unchanged);
        }
        let text = self.text.insert(text);
        let failures = if is_json(&self.path) {
            return populate(&self.served, &self.path, text.as_bytes());
        } else {
            let config = Config::parse(text, &self.path.display().to_string())?;
            let failures = self.served.replace(&self.applied, &config);
            self.applied = config;
            failures
        };
        if !failures.is_empty() {
            return Err(ReloadError::Failed { path: self.path.clone(), failures });
        }
        let (proxies, links) = self.applied.len();
        Ok(Reload::Applied { proxies, links })
    }
}

/// Whether a file is a list of proxies as Toxiproxy reads it.
#[must_use]
pub fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn populate(served: &Served, path: &Path, body: &[u8]) -> Result<Reload, ReloadError> {
    let populated = served.registry.populate(body);
    match populated.error {
        Some(error) => Err(ReloadError::Failed { path: path.to_owned(), failures: vec![error.to_string()] }),
        None => Ok(Reload::Applied { proxies: populated.proxies.map_or(0, |all| all.len()), links: 0 }),
    }
}

impl Served {
    /// From what a file said to what it says. Ports are given up before others are taken.
    fn replace(&self, old: &Config, new: &Config) -> Vec<String> {
        let mut failures = Vec::new();
        let mut note = |what: &str, name: &str, done: Result<(), ApiError>| {
            if let Err(error) = done {
                failures.push(format!("{what} \"{name}\": {error}"));
            }
        };
        for name in old.proxies.keys().filter(|name| !new.proxies.contains_key(*name)) {
            // A client may have deleted it already.
            let _ = self.registry.delete(name);
        }
        for name in old.links.keys().filter(|name| !new.links.contains_key(*name)) {
            let _ = self.links.delete(name, IfMatch::Any);
        }
        let changed = |plan: &&ProxyPlan| old.proxies.get(&plan.name) != Some(*plan);
        for plan in new.proxies.values().filter(changed) {
            if old.proxies.get(&plan.name).is_some_and(|old| !is_same_place(old, plan)) {
                let _ = self.registry.with(&plan.name, |proxy| {
                    proxy.stop();
                    Ok(())
                });
            }
        }
        for plan in new.proxies.values().filter(changed) {
            note("proxy", &plan.name, self.settle(old.proxies.get(&plan.name), plan));
        }
        for plan in new.links.values().filter(|plan| old.links.get(&plan.name) != Some(plan)) {
            let is_ours = old.links.contains_key(&plan.name);
            let done = if !is_ours && self.links.show(&plan.name).is_ok() {
                Err(ApiError::bad_request(
                    "a client has made one of that name; delete it, or write another name",
                ))
            } else {
                self.links.place(plan.clone(), IfMatch::Any).map(|_| ())
            };
            note("link", &plan.name, done);
        }
        failures
    }

    fn settle(&self, old: Option<&ProxyPlan>, plan: &ProxyPlan) -> Result<(), ApiError> {
        let Some(old) = old.filter(|_| self.registry.view(&plan.name).is_ok()) else {
            return self.registry.insert(plan).map(|_| ());
        };
        self.registry.with(&plan.name, |proxy| {
            settle_toxics(proxy, &plan.toxics)?;
            let engine = self.registry.engine();
            if is_same_place(old, plan) {
                return proxy.enable(plan.is_enabled, engine);
            }
            proxy.move_to(&plan.listen, &plan.upstream, plan.is_enabled, engine)
        })
    }
}

/// Compared as written: a free port stays the one that was found.
fn is_same_place(old: &ProxyPlan, new: &ProxyPlan) -> bool {
    (&old.listen, &old.upstream) == (&new.listen, &new.upstream)
}

/// Removes, changes and adds toxics until the proxy has these; those that are the same are not touched.
fn settle_toxics(proxy: &mut Proxy, wanted: &[ListedToxic]) -> Result<(), ApiError> {
    let same_kind = |one: &ListedToxic, other: &ListedToxic| {
        one.toxic.name == other.toxic.name
            && one.toxic.stream == other.toxic.stream
            && one.toxic.kind.name() == other.toxic.kind.name()
    };
    for old in proxy.toxics() {
        match wanted.iter().find(|new| same_kind(&old, new)) {
            None => proxy.remove_toxic(&old.toxic.name)?,
            Some(new) if new.toxic != old.toxic => proxy.change(new.clone())?,
            Some(_) => {}
        }
    }
    for new in wanted {
        if proxy.toxic(&new.toxic.name).is_err() {
            proxy.install(new.clone())?;
        }
    }
    Ok(())
}
