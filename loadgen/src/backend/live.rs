//! placeholder
use std::sync::atomic::AtomicBool;
use super::{RunError, RunPlan, RunRecord};
pub fn run(_plan: &RunPlan, _interrupt: &AtomicBool, _progress: &mut dyn FnMut(f64)) -> Result<RunRecord, RunError> {
    Err(RunError::Setup("not yet".into()))
}
