//! Laws of chance that are the same on every machine, and the texts that bring them.
//!
//! A delay is one uniform draw put through an inverse distribution function: so a packet's delay depends on its own
//! draw alone, and a law can be judged by its distribution function. What is computed here uses integers, the four
//! operations and `sqrt` (exact in IEEE 754), fixed coefficients, and functions of the `libm` crate; the standard
//! library's `exp` and `ln` differ between systems and are not used.
//!
//! [`delay`] holds the laws, [`copula`] correlates draws without changing their law, [`table`] and [`trace`] read
//! files, [`markov`] says how much the losses of a chain vary, [`netem`] is Linux' arithmetic with its faults.

pub mod copula;
pub mod delay;
pub mod markov;
pub mod netem;
pub mod normal;
pub mod table;
pub mod trace;
mod unit;

pub use copula::Copula;
pub use delay::DelayLaw;
pub use unit::Unit;

#[cfg(test)]
mod tests;
