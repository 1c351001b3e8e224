//! Folders under `target/` that are there whole or not at all.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::progress;

/// Fills a folder if it is not there yet, as a step called `what`.
pub fn fill(folder: &Path, what: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let outcome = progress::step(what, || whole(folder, fill));
    // Somebody else may have filled it at the same time.
    if folder.exists() { Ok(()) } else { outcome }
}

/// Fills a folder beside and moves it there whole: what is interrupted leaves no half.
fn whole(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    fs::create_dir_all(&partial)?;
    let outcome = fill(&partial).and_then(|()| Ok(fs::rename(&partial, folder)?));
    if outcome.is_err() {
        fs::remove_dir_all(&partial)?;
    }
    outcome
}
