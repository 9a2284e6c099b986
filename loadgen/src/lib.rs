//! placeholder
pub mod record;
pub mod result;
pub mod scenario;
