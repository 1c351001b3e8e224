//! `bench/results.json`: the latest value of every measurement, with the commit that it is about.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::svg::grouped;
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
    /// The largest value that is accepted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    goal: Option<f64>,
    commit: String,
}

/// What a value is compared with.
#[derive(Clone, Copy, Default)]
pub struct Beside {
    /// The same without the monitor.
    pub bare: Option<f64>,
    /// The largest value that is accepted.
    pub goal: Option<f64>,
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

    /// Adds a value, and prints it with what stands beside it.
    pub fn add(&mut self, boot: &str, measured: &Measurement, beside: Beside) {
        let Measurement { name, value, unit } = measured;
        let Beside { bare, goal } = beside;
        let ratio = bare.filter(|bare| *bare != 0.0).map(|bare| value / bare);
        print!("{:<48} {value:>14} {unit}", format!("{boot}/{name}"));
        if let (Some(bare), Some(ratio)) = (bare, ratio) {
            print!("  ({bare} without the monitor: {ratio:.3})");
        }
        if let Some(goal) = goal {
            let verdict = if *value <= goal { "goal" } else { "MISSED" };
            print!("  ({verdict}: at most {goal})");
        }
        println!();
        let entry = Entry {
            value: *value,
            unit: unit.clone(),
            bare,
            ratio,
            goal,
            commit: self.commit.clone(),
        };
        self.entries.insert(format!("{boot}/{name}"), entry);
    }

    /// The value of `boot/name`, if it was ever measured.
    pub fn value(&self, name: &str) -> Option<f64> {
        Some(self.entries.get(name)?.value)
    }

    /// The goal of `boot/name`, if it has one.
    pub fn goal(&self, name: &str) -> Option<f64> {
        self.entries.get(name)?.goal
    }

    /// The names that begin with `boot/`, without that, and their values.
    pub fn of(&self, boot: &str) -> impl Iterator<Item = (&str, f64)> {
        self.entries.iter().filter_map(move |(name, entry)| {
            let name = name.strip_prefix(boot)?.strip_prefix('/')?;
            Some((name, entry.value))
        })
    }

    /// The lines of a Markdown table.
    pub fn table(&self) -> String {
        let column = |value: Option<f64>| value.map(grouped).unwrap_or_default();
        let line = |(name, entry): (&String, &Entry)| {
            let bare = match (entry.bare, entry.ratio) {
                (Some(bare), Some(ratio)) => format!("{} (× {ratio:.3})", grouped(bare)),
                (bare, _) => column(bare),
            };
            format!(
                "| {name} | {} | {} | {bare} | {} | {} |\n",
                grouped(entry.value),
                entry.unit,
                column(entry.goal),
                entry.commit
            )
        };
        self.entries.iter().map(line).collect()
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
