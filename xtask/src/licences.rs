//! A check of every dependency's licence and source against `deny.toml`.
//!
//! It needs no tool beyond Cargo, so it runs where `cargo deny` is not installed; the latter
//! checks more where it is.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use toml::Table;

use crate::workspace::Workspace;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What is wrong, one sentence per package.
pub fn findings(workspace: &Workspace) -> Result<Vec<String>> {
    let rules: Table = fs::read_to_string(workspace.source("deny.toml"))?.parse()?;
    let allowed: Vec<&str> = rules
        .get("licenses")
        .and_then(|section| section.get("allow")?.as_array())
        .context("deny.toml allows no licence")?
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    let output = workspace
        .cargo()
        .args(["metadata", "--format-version=1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has no packages")?;
    Ok(packages
        .iter()
        .filter_map(|package| finding(package, &allowed))
        .collect())
}

fn finding(package: &Value, allowed: &[&str]) -> Option<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let licence = package["license"].as_str().unwrap_or_default();
    if !Expression::accepts(licence, allowed) {
        return Some(format!("{name}: licence `{licence}` is not allowed"));
    }
    match package["source"].as_str() {
        None | Some(REGISTRY) => None,
        Some(source) => Some(format!("{name}: source {source} is not allowed")),
    }
}

/// A licence expression (SPDX, annex D), read from left to right.
struct Expression<'text> {
    words: std::iter::Peekable<std::vec::IntoIter<String>>,
    allowed: &'text [&'text str],
}

impl<'text> Expression<'text> {
    fn accepts(text: &str, allowed: &'text [&'text str]) -> bool {
        // Older packages write a slash for OR.
        let text = text
            .replace('/', " OR ")
            .replace('(', " ( ")
            .replace(')', " ) ");
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let mut expression = Self {
            words: words.into_iter().peekable(),
            allowed,
        };
        let accepted = expression.any();
        accepted && expression.words.next().is_none()
    }

    fn any(&mut self) -> bool {
        let mut accepted = self.all();
        while self.words.next_if(|word| word == "OR").is_some() {
            accepted |= self.all();
        }
        accepted
    }

    fn all(&mut self) -> bool {
        let mut accepted = self.one();
        while self.words.next_if(|word| word == "AND").is_some() {
            accepted &= self.one();
        }
        accepted
    }

    fn one(&mut self) -> bool {
        if self.words.next_if(|word| word == "(").is_some() {
            let accepted = self.any();
            return self.words.next_if(|word| word == ")").is_some() && accepted;
        }
        let Some(mut name) = self.words.next() else {
            return false;
        };
        if self.words.next_if(|word| word == "WITH").is_some() {
            name = format!("{name} WITH {}", self.words.next().unwrap_or_default());
        }
        self.allowed.contains(&name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Expression;

    #[test]
    fn expressions() {
        let accepts = |text| Expression::accepts(text, &["MIT", "Unicode-3.0"]);
        assert!(accepts("MIT"));
        assert!(accepts("Apache-2.0/MIT"));
        assert!(accepts("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!accepts("MIT AND Apache-2.0"));
        assert!(!accepts("Apache-2.0 WITH LLVM-exception"));
        assert!(!accepts(""));
        assert!(!accepts("GPL-3.0-only"));
    }
}
