//! Records that look like those of real runs, for tests and benches.
//!
//! Seeded and small in code rather than faithful: each hop loses with its probability and waits a doubling timeout, as
//! the theory has it, with some jitter so that curves look like curves. [`Shape`] says what a run is like, [`chat`],
//! [`grid`] and [`arms`] make whole records of it.

mod reno;
#[cfg(test)]
mod rows;
mod run;
#[cfg(test)]
mod samples;
mod shape;
#[cfg(test)]
mod told;

#[cfg(test)]
pub(super) use rows::*;
pub use shape::{Shape, Vary, arms, chat, grid, with_arm_b};
