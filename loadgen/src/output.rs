//! Where a report goes, without overwriting an earlier one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::report;

/// The folder of this run, empty and ready. In `reports/<name>`, the previous run moves to
/// `reports/archive/<name>/<run id>`; an explicit `out` is used as it is.
pub fn prepare(name: &str, out: Option<&Path>) -> Result<PathBuf> {
    let dir = out.map_or_else(|| Path::new(REPORTS).join(name), Path::to_owned);
    if out.is_none() {
        archive(name, &dir)?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("{}: cannot make the folder", dir.display()))?;
    Ok(dir)
}

/// Moves an earlier report out of the way.
fn archive(name: &str, dir: &Path) -> Result<()> {
    let result = dir.join("result.json");
    if !dir.exists() {
        return Ok(());
    }
    // A folder without a readable result is kept under a name of its own as well.
    let id = report::read_result(&result).map_or_else(|_| "unknown".to_owned(), |result| result.run.id);
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let shelf = Path::new(REPORTS).join("archive").join(name);
    fs::create_dir_all(&shelf).with_context(|| format!("{}: cannot make the folder", shelf.display()))?;
    let free = (0..).map(|copy| shelf.join(if copy == 0 { id.clone() } else { format!("{id}-{copy}") }));
    let target = free.into_iter().find(|path| !path.exists()).unwrap_or(shelf);
    match fs::rename(dir, &target) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| {
            format!("{}: cannot move the earlier report to {}", dir.display(), target.display())
        }),
    }
}

/// Where reports are kept, below the current folder.
const REPORTS: &str = "reports";
