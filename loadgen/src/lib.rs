//! placeholder
pub mod record;
pub mod report;
pub mod result;
pub mod scenario;
pub mod verdict;
pub mod workload;
