//! One run: from a plan to a [`RunFile`].
//!
//! The runner asks for runs through [`CarryOut`], so that its order, its resumption and its search are tested on systems
//! of which the answer is known.

use std::sync::atomic::AtomicBool;

use super::plan::Slot;
use crate::backend::{Heeded, Progress, RunError, RunPlan, live, sim};
use crate::measure::{RunIndex, measure};
use crate::qlog::{self, Names, Qlog};
use crate::record::{DeliveryRow, TraceRow};
use crate::records::RunFile;
use crate::scenario::Driver;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Order {
    pub slot: Slot,
    pub driver: Driver,
    pub run: RunPlan,
    pub seed: u64,
    /// Cells of the whole experiment; traces of a single one need no number in their names.
    pub cells: usize,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    pub run: RunFile,
    pub deliveries: Vec<DeliveryRow>,
    pub traces: Vec<TraceRow>,
    /// Of the first repeat, where the scenario asks for them.
    pub qlogs: Vec<Qlog>,
}

/// Who carries out runs.
pub trait CarryOut {
    /// `progress` hears how far it is and may end the run, and must return at once: a driver waits for it.
    ///
    /// # Errors
    /// [`RunError`] when there is no run to speak of.
    fn carry_out(
        &mut self,
        order: &Order,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(Progress) -> Heeded,
    ) -> Result<Carried, RunError>;
}

/// The two drivers.
#[derive(Clone, Copy, Debug)]
pub struct Drivers;

impl CarryOut for Drivers {
    fn carry_out(
        &mut self,
        order: &Order,
        interrupt: &AtomicBool,
        progress: &mut dyn FnMut(Progress) -> Heeded,
    ) -> Result<Carried, RunError> {
        let Order { slot, driver, run, seed, cells } = order;
        let record = match driver {
            Driver::Virtual => sim::run(run, interrupt, progress)?,
            Driver::Real => live::run(run, interrupt, progress)?,
        };
        let at = RunIndex { cell: slot.cell, repeat: slot.repeat };
        let names = Names { cells: *cells, arm: slot.arm };
        let qlogs = qlog::traces(&run.scenario, &record, at, *seed, names);
        let outcome = measure(&run.scenario, record, at);
        Ok(Carried { run: outcome.run, deliveries: outcome.deliveries, traces: outcome.traces, qlogs })
    }
}
