//! `plan.json`: how an experiment was begun, so that `loadgen resume DIR` needs nothing but the folder.
//!
//! Written before the first run. With `scenario.toml` beside it (and `scenario-b.toml` of arm B), it says everything that the
//! command line said.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::report::{ReportError, write_file};
use crate::result::RunInfo;

/// `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    pub schema: u32,
    /// Who began it, where and when; its commands grow with each resumption.
    pub run: RunInfo,
    /// Overrides of each arm of `--ab`; empty without.
    #[serde(default)]
    pub arms: Vec<Vec<String>>,
    /// The running server of `--test`.
    #[serde(default)]
    pub server: Option<SocketAddr>,
    /// qlog with the event names that qvis reads.
    #[serde(default)]
    pub qvis: bool,
    /// Whether its result is to become a baseline, and where.
    #[serde(default)]
    pub save_baseline: Option<Option<PathBuf>>,
}

impl Begun {
    /// # Errors
    /// [`ReportError::Write`].
    pub fn save(&self, folder: &Folder) -> Result<(), ReportError> {
        let path = folder.dir().join(PATH);
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| ReportError::Write { path: path.clone(), source: error.into() })?;
        json.push(b'\n');
        write_file(&path, &json)
    }

    /// # Errors
    /// [`ReportError::Read`] where there is none, [`ReportError::Parse`] for one of another schema, or cut short.
    pub fn read(folder: &Folder) -> Result<Self, ReportError> {
        let path = folder.dir().join(PATH);
        let text = fs::read(&path).map_err(|source| ReportError::Read { path: path.clone(), source })?;
        let begun: Self = serde_json::from_slice(&text).map_err(|error| ReportError::Parse {
            path: path.clone(),
            line: error.line() as u64,
            problem: error.to_string(),
        })?;
        if begun.schema == SCHEMA {
            return Ok(begun);
        }
        let problem =
            format!("schema {} is not {SCHEMA}; resume it with the loadgen that began it", begun.schema);
        Err(ReportError::Parse { path, line: 1, problem })
    }
}

/// Version of the form of `plan.json`.
pub const SCHEMA: u32 = 1;

const PATH: &str = "plan.json";
