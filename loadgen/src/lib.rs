//! placeholder
pub mod backend;
pub mod measure;
pub mod record;
pub mod report;
pub mod result;
pub mod runner;
pub mod scenario;
pub mod verdict;
pub mod workload;
