//! What a scenario may set of copies: which kind, and the limits of bundling.
//!
//! Limits are read whatever the kind is, so that a sweep over `protocol.redundancy` sets them once.

use std::fmt::Write;

use chat_core::config::{BundleConfig, Redundancy};
use units::{ByteCount, format_duration};

use super::error::ScenarioError;
use super::read::{Fields, View};

pub(super) fn read(fields: &Fields<'_>, base: Redundancy) -> Result<Redundancy, ScenarioError> {
    let limits = match base {
        Redundancy::Bundle(config) => config,
        Redundancy::Off | Redundancy::Twice => BundleConfig::default(),
    };
    let limits = BundleConfig {
        copies_max: fields.or("bundle-copies", limits.copies_max, |view| view.count(1..=MAX_COPIES))?,
        solo_delay: fields.or("bundle-solo-delay", limits.solo_delay, View::duration)?,
        rate_max: fields.or("bundle-rate", limits.rate_max, rate)?,
    };
    let kind = fields.or("redundancy", base, |view| {
        view.choice(&[
            ("off", Redundancy::Off),
            ("twice", Redundancy::Twice),
            ("bundle", Redundancy::Bundle(limits)),
        ])
    })?;
    Ok(kind)
}

/// The same, written out; limits only where they mean something.
pub(super) fn decided(redundancy: Redundancy) -> String {
    let (kind, limits) = match redundancy {
        Redundancy::Off => ("off", None),
        Redundancy::Twice => ("twice", None),
        Redundancy::Bundle(limits) => ("bundle", Some(limits)),
    };
    let mut out = format!("redundancy = \"{kind}\"\n");
    if let Some(BundleConfig { copies_max, solo_delay, rate_max }) = limits {
        let _ = writeln!(out, "bundle-copies = {copies_max}\nbundle-rate = \"{rate_max}\"");
        let _ = writeln!(out, "bundle-solo-delay = \"{}\"", format_duration(solo_delay));
    }
    out
}

fn rate(view: &View<'_>) -> Result<ByteCount, ScenarioError> {
    match view.bytes()? {
        ByteCount(0) => Err(view.error("must be above zero; write for example 64kB, a second")),
        rate => Ok(rate),
    }
}

/// What the connection takes; more copies only repeat what three already say.
const MAX_COPIES: u8 = 3;
