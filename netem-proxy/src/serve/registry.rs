//! The proxies by name, and what can be asked of them.
//!
//! Plain functions from a body to a result: the routes only carry them to and from HTTP. Two kinds of lock: one for the
//! map, held for look-ups only; one for each proxy, held while that proxy changes. A proxy that is slow to change keeps
//! nobody from another one, nor from the list of the others' names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use units::Seed;

use super::error::ApiError;
use super::json::Value;
use super::proxy::{Proxy, ProxyPlan, ProxyView};
use super::toxic::{ListedToxic, ToxicDraft};
use super::traffic::ProxyTraffic;
use crate::stream::Engine;

type Shared = Arc<Mutex<Proxy>>;

#[derive(Debug)]
pub(super) struct Registry {
    engine: Engine,
    seed: Seed,
    proxies: Mutex<BTreeMap<String, Shared>>,
    /// Held while proxies come and go, so that two requests cannot both find a name free.
    changing: Mutex<()>,
}

/// What became of a list of proxies; after an error the earlier ones stay.
#[derive(Debug)]
pub(super) struct Populated {
    /// `None` when nothing was tried.
    pub(super) proxies: Option<Vec<ProxyView>>,
    pub(super) error: Option<ApiError>,
}

impl Registry {
    pub(super) fn new(engine: Engine, seed: Seed) -> Self {
        Self { engine, seed, proxies: Mutex::default(), changing: Mutex::default() }
    }

    pub(super) fn views(&self) -> BTreeMap<String, ProxyView> {
        self.all().iter().map(|proxy| lock(proxy).view()).map(|view| (view.name.clone(), view)).collect()
    }

    pub(super) fn view(&self, name: &str) -> Result<ProxyView, ApiError> {
        self.with(name, |proxy| Ok(proxy.view()))
    }

    pub(super) fn create(&self, body: &Value) -> Result<ProxyView, ApiError> {
        self.insert(&ProxyPlan::decode(body, "")?)
    }

    /// Adds a proxy that must be new, and starts it if its plan says so. One that cannot start is not added.
    pub(super) fn insert(&self, plan: &ProxyPlan) -> Result<ProxyView, ApiError> {
        let _changing = lock(&self.changing);
        if self.find(&plan.name).is_ok() {
            return Err(ApiError::proxy_exists());
        }
        self.add(plan)
    }

    pub(super) fn update(&self, name: &str, body: &Value) -> Result<ProxyView, ApiError> {
        self.with(name, |proxy| {
            proxy.update(body, &self.engine)?;
            Ok(proxy.view())
        })
    }

    pub(super) fn delete(&self, name: &str) -> Result<(), ApiError> {
        let _changing = lock(&self.changing);
        let removed = lock(&self.proxies).remove(name).ok_or_else(ApiError::proxy_not_found)?;
        lock(&removed).retire();
        Ok(())
    }

    pub(super) fn toxics(&self, proxy: &str) -> Result<Vec<ListedToxic>, ApiError> {
        self.with(proxy, |proxy| Ok(proxy.toxics()))
    }

    pub(super) fn toxic(&self, proxy: &str, toxic: &str) -> Result<ListedToxic, ApiError> {
        self.with(proxy, |proxy| proxy.toxic(toxic).cloned())
    }

    pub(super) fn add_toxic(&self, proxy: &str, body: &[u8]) -> Result<ListedToxic, ApiError> {
        self.with(proxy, |proxy| proxy.add_toxic(ToxicDraft::decode(&Value::parse(body)?)?).cloned())
    }

    pub(super) fn update_toxic(
        &self,
        proxy: &str,
        toxic: &str,
        body: &[u8],
    ) -> Result<ListedToxic, ApiError> {
        self.with(proxy, |proxy| {
            proxy.toxic(toxic)?;
            proxy.update_toxic(toxic, &Value::parse(body)?).cloned()
        })
    }

    pub(super) fn remove_toxic(&self, proxy: &str, toxic: &str) -> Result<(), ApiError> {
        self.with(proxy, |proxy| proxy.remove_toxic(toxic))
    }

    /// Creates or replaces each proxy of a list. One that is at the same place already stays as it is, with its toxics.
    pub(super) fn populate(&self, body: &[u8]) -> Populated {
        let plans = match decode_all(body) {
            Ok(plans) => plans,
            Err(error) => return Populated { proxies: None, error: Some(error) },
        };
        let _changing = lock(&self.changing);
        let mut proxies = Vec::new();
        for plan in &plans {
            match self.add_or_replace(plan) {
                Ok(view) => proxies.push(view),
                Err(error) => return Populated { proxies: Some(proxies), error: Some(error) },
            }
        }
        Populated { proxies: Some(proxies), error: None }
    }

    /// Starts every proxy and removes every toxic.
    pub(super) fn reset(&self) -> Result<(), ApiError> {
        for proxy in self.all() {
            let mut proxy = lock(&proxy);
            if proxy.is_retired() {
                continue;
            }
            proxy.start(&self.engine)?;
            proxy.remove_toxics()?;
        }
        Ok(())
    }

    pub(super) fn traffic(&self) -> Vec<ProxyTraffic> {
        let traffic = |proxy: &Shared| {
            let proxy = lock(proxy);
            ProxyTraffic { view: proxy.view(), traffic: proxy.traffic() }
        };
        self.all().iter().map(traffic).collect()
    }

    /// Does something to one proxy, which nobody else changes meanwhile.
    pub(super) fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Proxy) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let found = self.find(name)?;
        let mut proxy = lock(&found);
        // Another request may have deleted it while this one waited.
        if proxy.is_retired() {
            return Err(ApiError::proxy_not_found());
        }
        work(&mut proxy)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    fn add_or_replace(&self, plan: &ProxyPlan) -> Result<ProxyView, ApiError> {
        if let Ok(found) = self.find(&plan.name) {
            let mut old = lock(&found);
            if !old.differs(&plan.listen, &plan.upstream)? {
                return Ok(old.view());
            }
            old.retire();
            drop(old);
            lock(&self.proxies).remove(&plan.name);
        }
        self.add(plan)
    }

    /// The caller holds `changing`.
    fn add(&self, plan: &ProxyPlan) -> Result<ProxyView, ApiError> {
        if lock(&self.proxies).len() >= MAX_PROXIES {
            let text = format!("there are {MAX_PROXIES} proxies already; delete one first");
            return Err(ApiError::new(StatusCode::CONFLICT, text));
        }
        let mut proxy = Proxy::new(plan, self.seed.fork(&format!("proxy/{}", plan.name)));
        if plan.is_enabled {
            proxy.start(&self.engine)?;
        }
        let view = proxy.view();
        lock(&self.proxies).insert(plan.name.clone(), Arc::new(Mutex::new(proxy)));
        Ok(view)
    }

    fn find(&self, name: &str) -> Result<Shared, ApiError> {
        lock(&self.proxies).get(name).cloned().ok_or_else(ApiError::proxy_not_found)
    }

    fn all(&self) -> Vec<Shared> {
        lock(&self.proxies).values().cloned().collect()
    }
}

fn decode_all(body: &[u8]) -> Result<Vec<ProxyPlan>, ApiError> {
    let body = Value::parse(body)?;
    let mut plans: Vec<ProxyPlan> = Vec::new();
    for (at, value) in body.elements("[]struct")?.iter().enumerate() {
        let plan = ProxyPlan::decode(value, &format!(" at proxy {}", at + 1))?;
        if plans.iter().any(|other| other.name == plan.name) {
            return Err(ApiError::bad_request(format!("duplicate proxy name {:?}", plan.name)));
        }
        plans.push(plan);
    }
    Ok(plans)
}

/// A panic elsewhere leaves a proxy as it was before or after a step, both of which can be gone on from.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each holds a port; there are 65,535.
const MAX_PROXIES: usize = 4_096;
