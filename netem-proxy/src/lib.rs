//! placeholder
pub mod profile;
