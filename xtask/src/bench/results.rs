//! `bench/results.json`: the latest value of every measurement, with the commit that it is about.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::suite::Measurement;
use crate::workspace::Workspace;

const FILE: &str = "bench/results.json";

/// One measured value.
#[derive(Serialize, Deserialize)]
struct Entry {
    value: f64,
    unit: String,
    /// The same without the monitor, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    bare: Option<f64>,
    /// `value / bare`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    ratio: Option<f64>,
    commit: String,
}

/// All values, by `boot/name`.
pub struct Results {
    entries: BTreeMap<String, Entry>,
    commit: String,
}

impl Results {
    /// What was measured before; nothing if that cannot be read.
    pub fn read(workspace: &Workspace) -> Result<Self> {
        let text = fs::read_to_string(workspace.source(FILE)).unwrap_or_default();
        let entries = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self {
            entries,
            commit: workspace.commit(),
        })
    }

    /// Adds a value, and prints it.
    pub fn add(&mut self, boot: &str, measured: &Measurement, bare: Option<f64>) {
        let Measurement { name, value, unit } = measured;
        let ratio = bare.filter(|bare| *bare != 0.0).map(|bare| value / bare);
        print!("{:<40} {value:>16} {unit}", format!("{boot}/{name}"));
        match (bare, ratio) {
            (Some(bare), Some(ratio)) => println!("  ({bare} without the monitor: {ratio:.3})"),
            _ => println!(),
        }
        let entry = Entry {
            value: *value,
            unit: unit.clone(),
            bare,
            ratio,
            commit: self.commit.clone(),
        };
        self.entries.insert(format!("{boot}/{name}"), entry);
    }

    /// Writes the file.
    pub fn write(&self, workspace: &Workspace) -> Result<()> {
        let path = workspace.source(FILE);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(
            path,
            serde_json::to_string_pretty(&self.entries)? + "\n",
        )?)
    }
}
