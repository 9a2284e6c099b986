//! Where a report goes, without overwriting an earlier one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::report;

/// The folder of a run, and what had to give way for it.
#[derive(Debug)]
pub struct Place {
    pub dir: PathBuf,
    is_new: bool,
    archived: Option<PathBuf>,
}

impl Place {
    /// Makes the folder, ready to be written to. The previous run in it moves to `archive/<name>/<run id>` beside it, unless
    /// it `is_explicit`: such a folder is used as it is.
    ///
    /// # Errors
    /// Of the file system, with the path.
    pub fn prepare(dir: &Path, is_explicit: bool) -> Result<Self> {
        let archived = if is_explicit { None } else { archive(dir)? };
        let is_new = !dir.exists();
        fs::create_dir_all(dir).with_context(|| format!("{}: cannot make the folder", dir.display()))?;
        Ok(Self { dir: dir.to_owned(), is_new, archived })
    }

    /// Whether an earlier report had to move.
    #[must_use]
    pub fn has_moved_one(&self) -> bool {
        self.archived.is_some()
    }

    /// Nothing came of the run: the folder is as if it had never begun.
    pub fn undo(self) {
        if self.is_new {
            // What is in it is ours: a plan, and no run.
            let _ = fs::remove_dir_all(&self.dir);
        }
        if let Some(archived) = self.archived {
            let _ = fs::rename(archived, &self.dir);
        }
    }
}

/// The folder of a report: `out`, or what `output.dir` says of a scenario of this name and a run of this id.
#[must_use]
pub fn at(template: &str, name: &str, run_id: &str, out: Option<&Path>) -> PathBuf {
    let named = || PathBuf::from(template.replace(NAME, name).replace(RUN_ID, run_id));
    out.map_or_else(named, Path::to_owned)
}

/// Moves an earlier report out of the way, and says where to.
fn archive(dir: &Path) -> Result<Option<PathBuf>> {
    let result = dir.join("result.json");
    if !dir.exists() {
        return Ok(None);
    }
    // A folder without a readable result is kept under a name of its own as well.
    let id = report::read_result(&result).map_or_else(|_| "unknown".to_owned(), |result| result.run.id);
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let name = dir.file_name().unwrap_or_default();
    let shelf = dir.parent().unwrap_or_else(|| Path::new("")).join("archive").join(name);
    fs::create_dir_all(&shelf).with_context(|| format!("{}: cannot make the folder", shelf.display()))?;
    let free = (0..).map(|copy| shelf.join(if copy == 0 { id.clone() } else { format!("{id}-{copy}") }));
    let target = free.into_iter().find(|path| !path.exists()).unwrap_or(shelf);
    match fs::rename(dir, &target) {
        Ok(()) => Ok(Some(target)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| {
            format!("{}: cannot move the earlier report to {}", dir.display(), target.display())
        }),
    }
}

/// What `output.dir` may hold.
const NAME: &str = "{name}";
pub const RUN_ID: &str = "{run_id}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_by_scenario_and_run_unless_it_is_given() {
        let template = "out/{name}/{run_id}";
        assert_eq!(at(template, "loss10", "7", None), Path::new("out/loss10/7"));
        assert_eq!(at(template, "loss10", "7", Some(Path::new("x"))), Path::new("x"));
    }

    #[test]
    fn an_earlier_report_gives_way_and_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("reports/loss10");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("mine"), "1").unwrap();
        let place = Place::prepare(&dir, false).unwrap();
        assert!(!dir.join("mine").exists());
        assert!(root.path().join("reports/archive/loss10/unknown/mine").exists());
        place.undo();
        assert!(dir.join("mine").exists());
        let place = Place::prepare(&dir, true).unwrap();
        assert!(dir.join("mine").exists(), "a folder that was named is used as it is");
        place.undo();
        assert!(dir.join("mine").exists());
    }
}
