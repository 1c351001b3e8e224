//! The machine that Adyton is installed on: its configuration, what it boots, its pool, and what is missing on it.
//!
//! Every path lies below a root, which is `/` but for tests and for systems that are prepared in a folder.

pub mod boot;
pub mod configuration;
pub mod doctor;
mod findings;
mod linux;
mod loader;
pub mod pool;
mod volume;

use std::fs;
use std::path::{Path, PathBuf};

/// A system's files.
#[derive(Clone, Debug)]
pub struct System(PathBuf);

impl System {
    /// The system whose root folder this is.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// Where `path`, which is absolute, lies.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A text file, if it can be read.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// Whether this is the system that runs.
    pub fn is_running(&self) -> bool {
        self.0 == Path::new("/")
    }
}
