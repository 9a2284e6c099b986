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
    /// Makes the folder, ready to be written to. In `reports/<name>`, the previous run moves to
    /// `reports/archive/<name>/<run id>`; an explicit `out` is used as it is.
    ///
    /// # Errors
    /// Of the file system, with the path.
    pub fn prepare(name: &str, out: Option<&Path>) -> Result<Self> {
        let dir = at(name, out);
        let archived = if out.is_none() { archive(name, &dir)? } else { None };
        let is_new = !dir.exists();
        fs::create_dir_all(&dir).with_context(|| format!("{}: cannot make the folder", dir.display()))?;
        Ok(Self { dir, is_new, archived })
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

/// The folder of a scenario: `reports/<name>`, or `out`.
#[must_use]
pub fn at(name: &str, out: Option<&Path>) -> PathBuf {
    out.map_or_else(|| Path::new(REPORTS).join(name), Path::to_owned)
}

/// Moves an earlier report out of the way, and says where to.
fn archive(name: &str, dir: &Path) -> Result<Option<PathBuf>> {
    let result = dir.join("result.json");
    if !dir.exists() {
        return Ok(None);
    }
    // A folder without a readable result is kept under a name of its own as well.
    let id = report::read_result(&result).map_or_else(|_| "unknown".to_owned(), |result| result.run.id);
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let shelf = Path::new(REPORTS).join("archive").join(name);
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

/// Where reports are kept, below the current folder.
const REPORTS: &str = "reports";
