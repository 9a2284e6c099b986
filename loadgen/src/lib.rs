//! Scenario files in, honest reports out.
//!
//! One line of flow, no arrow returns: [`scenario`] → [`workload`] + [`backend`] → [`backend::RunRecord`] → [`measure`]
//! → [`verdict`] → [`result`] and [`record`] → [`report`]. Everything after the record cannot tell which driver ran, and
//! reports are drawn from saved files only.

pub mod backend;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod distribution;
pub mod machine;
pub mod measure;
pub mod output;
pub mod qlog;
pub mod record;
pub mod records;
pub mod report;
pub mod result;
pub mod runner;
pub mod scenario;
pub mod seen;
pub mod stats;
pub mod ui;
pub mod verdict;
pub mod workload;
