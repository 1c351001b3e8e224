//! Guest tests as they are written down in `tests/*.toml`.
//!
//! A *boot* is one machine with a list of tests that run in it one after the other; a `matrix`
//! multiplies it by settings. The format is told in `docs/tests.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use toml::{Table, Value};

use crate::guest::Settings;
use crate::qemu::Ending;

/// Which runs a boot belongs to; each includes the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Everyday use.
    Quick,
    /// What CI runs.
    #[default]
    Default,
    /// Long runs.
    All,
}

/// One machine and what runs in it.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its name, the first half of its tests' names.
    pub name: String,
    /// Which runs it belongs to.
    pub tier: Tier,
    /// Seconds until domain 0 is up.
    pub time_limit: u64,
    /// The machine.
    pub settings: Settings,
    /// What runs in it.
    pub tests: Vec<Test>,
    /// Bounds on what its tests measure.
    pub goals: Vec<Goal>,
    /// What its memory holds when it has ended, if that is looked at.
    pub memory: Option<Memory>,
    /// Whether `bench` also runs it without the monitor and prints ratios.
    pub compare: bool,
}

/// One command in domain 0.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Test {
    /// The second half of its full name.
    pub name: String,
    /// A shell command; status 0 is success, 77 a skip.
    pub run: String,
    /// Seconds.
    #[serde(default = "default_test_limit")]
    pub time_limit: u64,
    /// How the test is expected to end the machine, if it does.
    #[serde(default)]
    pub ends: Option<End>,
    /// Texts that the console must show while the test runs.
    #[serde(default)]
    pub expect: Vec<String>,
}

/// An upper bound on a measured value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Goal {
    /// The name in the `ADYTON-BENCH` line.
    pub name: String,
    /// The largest value that is accepted.
    pub at_most: f64,
}

/// What is searched for in the whole memory of a machine that has ended, in hexadecimal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Memory {
    /// What must be there: without it, the absence of anything else says nothing.
    pub present: Vec<String>,
    /// What must not.
    #[serde(default)]
    pub absent: Vec<String>,
}

/// A way to end the machine on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The guest powers off.
    PowerOff,
    /// The guest resets.
    Reset,
    /// The harness cuts the power when the guest asks for it on the console, so that nothing in the machine knows.
    PowerCut,
}

impl End {
    /// Whether a machine ended like this.
    pub fn is(self, ending: &Ending) -> bool {
        match self {
            Self::PowerOff => *ending == Ending::PowerOff,
            Self::Reset => *ending == Ending::Reset,
            Self::PowerCut => *ending == Ending::Killed,
        }
    }
}

fn default_test_limit() -> u64 {
    20
}

fn default_boot_limit() -> u64 {
    40
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    boot: Vec<Written>,
}

/// A boot as it is written, before its matrix is multiplied out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: String,
    #[serde(default)]
    tier: Tier,
    #[serde(default = "default_boot_limit")]
    time_limit: u64,
    #[serde(default)]
    settings: Table,
    #[serde(default)]
    matrix: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    test: Vec<Test>,
    #[serde(default)]
    goal: Vec<Goal>,
    #[serde(default)]
    memory: Option<Memory>,
    #[serde(default)]
    compare: bool,
}

/// Reads all definitions in a folder, by file name.
pub fn read(folder: &Path) -> Result<Vec<Boot>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    let mut boots = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        boots.extend(parse(&text).with_context(|| path.display().to_string())?);
    }
    let mut names: Vec<&str> = boots.iter().map(|boot| boot.name.as_str()).collect();
    names.sort_unstable();
    ensure!(
        names.windows(2).all(|pair| pair[0] != pair[1]),
        "two boots have the same name"
    );
    Ok(boots)
}

fn parse(text: &str) -> Result<Vec<Boot>> {
    let file: File = toml::from_str(text)?;
    let mut boots = Vec::new();
    for written in file.boot {
        for (suffix, settings) in combinations(&written.settings, &written.matrix) {
            boots.push(Boot {
                name: format!("{}{suffix}", written.name),
                tier: written.tier,
                time_limit: written.time_limit,
                settings: settings.try_into().with_context(|| written.name.clone())?,
                tests: written.test.clone(),
                goals: written.goal.clone(),
                memory: written.memory.clone(),
                compare: written.compare,
            });
        }
    }
    Ok(boots)
}

/// Every choice of one value per setting of the matrix, with the name's suffix that tells it.
fn combinations(settings: &Table, matrix: &BTreeMap<String, Vec<Value>>) -> Vec<(String, Table)> {
    let mut rows = vec![(String::new(), settings.clone())];
    for (key, values) in matrix {
        rows = rows
            .iter()
            .flat_map(|(suffix, table)| {
                values.iter().map(move |value| {
                    let mut table = table.clone();
                    table.insert(key.clone(), value.clone());
                    (format!("{suffix}-{}", name_part(value)), table)
                })
            })
            .collect();
    }
    rows
}

/// A setting's value in a boot's name.
fn name_part(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('@', "-"),
        Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Tier, parse};

    #[test]
    fn a_matrix_multiplies() {
        let boots = parse(
            "[[boot]]\nname = 'm'\ntier = 'all'\nsettings = { memory = '2G' }\n\
             matrix = { cpus = [1, 2], pool = ['64M@above4g'] }\n\
             [[boot.test]]\nname = 't'\nrun = 'true'\n",
        )
        .unwrap();
        let names: Vec<&str> = boots.iter().map(|boot| boot.name.as_str()).collect();
        assert_eq!(names, ["m-1-64M-above4g", "m-2-64M-above4g"]);
        assert_eq!(boots[1].settings.cpus, 2);
        assert_eq!(boots[1].settings.memory, "2G");
        assert_eq!(boots[0].tier, Tier::All);
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        assert!(parse("[[boot]]\nname = 'm'\nsettings = { cores = 2 }\n").is_err());
    }
}
