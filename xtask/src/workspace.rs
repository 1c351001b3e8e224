//! Where things are: the checkout, and the folders below the build directory.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The checkout and its build directory (`CARGO_TARGET_DIR`, or `target/`).
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The workspace that this program was started from.
    pub fn locate() -> Result<Self> {
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest)
            .parent()
            .context("xtask has no parent folder")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => env::current_dir()?.join(folder),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// A path in the checkout.
    pub fn source(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// A path in the build directory.
    pub fn target(&self, path: impl AsRef<Path>) -> PathBuf {
        self.target.join(path)
    }

    /// `cargo`, set to work on this workspace.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(
            env::var_os("CARGO")
                .as_deref()
                .unwrap_or(OsStr::new("cargo")),
        );
        command.current_dir(&self.root);
        command
    }

    /// The commit that is checked out, with `-dirty` when tracked files other than results differ
    /// from it.
    pub fn commit(&self) -> String {
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .current_dir(&self.root)
                .args(arguments)
                .output();
            let text = output.ok().filter(|output| output.status.success())?.stdout;
            Some(String::from_utf8_lossy(&text).trim().to_owned())
        };
        let changes = ["status", "--porcelain", "--untracked-files=no", "--"];
        let but_results = [".", ":!bench/results.json", ":!docs/results"];
        match (
            git(&["rev-parse", "--short=12", "HEAD"]),
            git(&[changes.as_slice(), &but_results].concat()),
        ) {
            (Some(commit), Some(changes)) if changes.is_empty() => commit,
            (Some(commit), _) => format!("{commit}-dirty"),
            (None, _) => "unknown".to_owned(),
        }
    }
}
