//! A kernel package's modules: which are needed, in which order, and their contents.
//!
//! The package has no `modules.dep` (`depmod` runs when it is installed), so dependencies are read
//! where depmod reads them: from the `.modinfo` section of each module.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection};

/// One module, with its dependencies in the order in which they are inserted.
pub struct Module {
    /// File name, without compression suffix.
    pub file: String,
    /// ELF contents.
    pub contents: Vec<u8>,
    /// Names of all modules that must be there before, nearest last.
    pub dependencies: Vec<String>,
}

/// All modules of one kernel by name, read on demand.
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    loaded: BTreeMap<String, Module>,
}

impl Modules {
    /// Lists the modules below `/lib/modules/RELEASE`.
    pub fn list(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        collect(&folder.join("kernel"), &mut files)?;
        Ok(Self {
            files,
            loaded: BTreeMap::new(),
        })
    }

    /// Reads a module and those that it needs. A name that the kernel does not have is built in
    /// or left out of this flavour: nothing is added for it.
    pub fn add(&mut self, name: &str) -> Result<()> {
        let Some(path) = self.files.get(name).cloned() else {
            return Ok(());
        };
        if self.loaded.contains_key(name) {
            return Ok(());
        }
        let contents = read(&path)?;
        let mut dependencies = Vec::new();
        for needed in depends(&contents).with_context(|| path.display().to_string())? {
            self.add(&needed)?;
            if let Some(module) = self.loaded.get(&needed) {
                dependencies.extend(module.dependencies.iter().cloned());
                dependencies.push(needed);
            }
        }
        let mut seen = Vec::new();
        dependencies.retain(|entry| {
            !seen.contains(entry) && {
                seen.push(entry.clone());
                true
            }
        });
        let module = Module {
            file: format!("{name}.ko"),
            contents,
            dependencies,
        };
        self.loaded.insert(name.to_owned(), module);
        Ok(())
    }

    /// The modules that were read.
    pub fn loaded(&self) -> impl Iterator<Item = &Module> {
        self.loaded.values()
    }

    /// `modules.dep` for them; `modprobe` inserts a line's entries from right to left.
    pub fn index(&self) -> String {
        self.loaded()
            .map(|module| {
                let needed: Vec<String> = module
                    .dependencies
                    .iter()
                    .rev()
                    .map(|name| format!("{name}.ko"))
                    .collect();
                format!("{}: {}\n", module.file, needed.join(" "))
            })
            .collect()
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let file = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some((name, _)) = file.as_deref().and_then(|file| file.split_once(".ko")) {
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// The module, uncompressed: the initrd's insmod reads only plain ones.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz").args(["-dc", "--"]).arg(path).output()?;
        ensure!(output.status.success(), "xz cannot read {}", path.display());
        return Ok(output.stdout);
    }
    Ok(fs::read(path)?)
}

/// The `depends=` entry of `.modinfo`, names with underscores.
fn depends(contents: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(contents)?;
    let section = file
        .section_by_name(".modinfo")
        .context("no .modinfo section")?;
    let names = section
        .data()?
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(b"depends="))
        .map(|names| String::from_utf8_lossy(names).replace('-', "_"))
        .unwrap_or_default();
    Ok(names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}
