//! What is trusted, in numbers: the monitor's image, and the lines of code that it is made from.
//!
//! A line counts if there is code on it: no blank line, no comment, nothing that is compiled only for tests. Foreign crates are
//! counted whole, also what of them is not used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSegment};
use serde_json::Value;

use super::results::{Beside, Results};
use crate::guest::Images;
use crate::suite::Measurement;
use crate::workspace::Workspace;

/// The name of this measurement.
pub const NAME: &str = "trusted";

const MONITOR: &str = "adyton-monitor";
/// What the monitor's packages of this workspace are called by, besides their folder's name.
const PREFIX: &str = "adyton-";

/// Files and folders of what tests alone use: tests, the monitor's audit of itself, and the engine's invariants as code.
const NOT_LINKED: [&str; 3] = ["tests", "selfcheck", "invariants"];

/// Counts, and adds what was counted.
pub fn measure(workspace: &Workspace, images: &Images, results: &mut Results) -> Result<()> {
    let mut add = |name: &str, value: u64, unit: &str| {
        let measured = Measurement {
            name: name.to_owned(),
            value: value as f64,
            unit: unit.to_owned(),
        };
        results.add(NAME, &measured, Beside::default());
    };
    let path = images.monitor()?;
    let file = fs::read(path)?;
    let image = object::File::parse(&*file)?;
    let loaded: u64 = image.segments().map(|segment| segment.file_range().1).sum();
    let resident: u64 = image.segments().map(|segment| segment.size()).sum();
    add("image", loaded, "bytes");
    add("image-in-memory", resident, "bytes");
    for (name, folder) in packages(workspace)? {
        let lines = count_folder(&folder.join("src"))?;
        match name.strip_prefix(PREFIX) {
            Some(own) => add(&format!("lines-{own}"), lines, "lines"),
            None => add(&format!("foreign-lines-{name}"), lines, "lines"),
        }
    }
    Ok(())
}

/// The packages that are linked into the monitor, by name, with their folders.
fn packages(workspace: &Workspace) -> Result<BTreeMap<String, PathBuf>> {
    // With the features that the monitor asks for, not those that other packages add.
    let tree = cargo(
        workspace,
        &[
            "tree",
            "--package",
            MONITOR,
            "--edges=normal,no-proc-macro",
            "--prefix=none",
            "--target=x86_64-unknown-linux-gnu",
        ],
    )?;
    let metadata = cargo(workspace, &["metadata", "--format-version=1"])?;
    let metadata: Value = serde_json::from_slice(&metadata)?;
    Ok(linked(&String::from_utf8_lossy(&tree), &metadata))
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = workspace.cargo().args(arguments).output()?;
    ensure!(
        output.status.success(),
        "cargo {}: {}",
        arguments[0],
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// The packages of a tree, whose lines begin with name and version.
fn linked(tree: &str, metadata: &Value) -> BTreeMap<String, PathBuf> {
    let listed: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?.strip_prefix('v')?))
        })
        .collect();
    let packages = metadata["packages"].as_array();
    packages
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let name = package["name"].as_str()?;
            let folder = Path::new(package["manifest_path"].as_str()?).parent()?;
            listed
                .contains(&(name, package["version"].as_str()?))
                .then(|| (name.to_owned(), folder.to_path_buf()))
        })
        .collect()
}

/// Lines of code in all Rust files below a folder but those that only tests use.
fn count_folder(folder: &Path) -> Result<u64> {
    let mut lines = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if NOT_LINKED.contains(&&*stem) || stem.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            lines += count_folder(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            lines += count(&fs::read_to_string(&path)?);
        }
    }
    Ok(lines)
}

/// Lines of code in a file that is formatted as `cargo fmt` does: what belongs to an attribute ends at the brace below it.
fn count(text: &str) -> u64 {
    let mut lines = text.lines();
    let mut code = 0;
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("#[cfg(test)]") {
            let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
            // An item without a body ends with its line.
            lines
                .by_ref()
                .take_while(|line| *line != end && !(line.ends_with(';') && is_item(line, &end)))
                .for_each(drop);
        } else if !trimmed.is_empty() && !trimmed.starts_with("//") {
            code += 1;
        }
    }
    code
}

/// Whether the line stands as far left as the brace that ends the item.
fn is_item(line: &str, end: &str) -> bool {
    line.len() - line.trim_start().len() == end.len() - 1
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn only_code_counts() {
        let text = "//! What.\n\nuse a;\n// Why.\nfn f() {\n    g(); // here\n}\n";
        assert_eq!(count(text), 4);
    }

    #[test]
    fn tests_do_not_count() {
        let text = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use super::f;\n    fn t() {\n    }\n}\nfn g() {}\n";
        assert_eq!(count(text), 2);
        assert_eq!(count("#[cfg(test)]\nmod tests;\nmod b;\n"), 1);
        assert_eq!(count("#[cfg(not(test))]\nmod b;\n"), 2);
    }
}
