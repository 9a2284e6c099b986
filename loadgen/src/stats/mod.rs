//! Statistics of what was measured: pure functions, values in and values out.
//!
//! *How sure is a percentile?* [`cluster`] and [`rank`]: the recipients of one message share its way to the server, so
//! messages are what was sampled, and deliveries are not. Nothing here draws a random number where a closed form will do,
//! so the same records give the same intervals.

pub mod cluster;
pub mod rank;
