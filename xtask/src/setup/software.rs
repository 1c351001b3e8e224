//! What others wrote for processors that have SGX: fetched, built as they say, and given to domain 0.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::{folder, packages, selftests};
use crate::image;
use crate::tool;
use crate::workspace::Workspace;

/// Fortanix's tools, and the compiler for protocol buffers that they are built with.
const DETECTION: &str = "sgxs-tools@0.10.0";
const PLATFORM: &str = "fortanix-sgx-tools@0.6.4";
const PROTOCOL_BUFFERS: &[(&str, &str)] = &[
    ("/usr/bin/protoc", "protobuf-compiler"),
    ("/usr/bin/pkg-config", "pkg-config"),
];
/// What Rust programs in enclaves are compiled for.
const TARGET: &str = "x86_64-fortanix-unknown-sgx";
/// The one that is tried (`tests/edp/`), and how large it may be. The last makes room for more than the EPC.
const PROGRAM: &str = "edp-program";
const LIMITS: &[&str] = &[
    "--heap-size=0x6000000",
    "--ssaframesize=1",
    "--stack-size=0x20000",
    "--threads=10",
];

/// Software for SGX.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Software {
    /// The kernel's own selftests, in `/selftests`.
    Selftests,
    /// `sgx-detect`, which looks at all that enclaves need and initializes some, one of them signed by its vendor.
    Detection,
    /// The Enclave Development Platform's runner, and a program for it in `/programs`.
    Platform,
}

impl Software {
    /// What is to be fetched for it.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Selftests => "The kernel's source package",
            Self::Detection => "sgxs-tools",
            Self::Platform => "The Enclave Development Platform",
        }
    }

    /// Fetches what is not there yet.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn download(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Selftests => selftests::download(workspace),
            Self::Detection => reach(workspace, DETECTION),
            Self::Platform => {
                ensure!(
                    has_target()?,
                    "the toolchain has no {TARGET}: rustup target add {TARGET}"
                );
                reach(workspace, PLATFORM)
            }
        }
    }

    /// Builds what is not there yet. Not for two at a time.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn prepare(self, workspace: &Workspace) -> Result<()> {
        match self {
            Self::Selftests => selftests::fetch(workspace).map(|_folder| ()),
            Self::Detection => install(workspace, DETECTION),
            Self::Platform => {
                install(workspace, PLATFORM)?;
                make_enclave(workspace)
            }
        }
    }

    /// Segments of the initrd with it, once it is [prepared](Self::prepare).
    pub fn segments(self, workspace: &Workspace) -> Result<Vec<Vec<u8>>> {
        let program = |package, name| image::programs(&[programs(workspace, package).join(name)]);
        Ok(match self {
            Self::Selftests => vec![image::folder(&selftests::fetch(workspace)?, "selftests")?],
            Self::Detection => vec![program(DETECTION, "sgx-detect")?],
            Self::Platform => vec![
                program(PLATFORM, "ftxsgx-runner")?,
                image::folder(&enclaves(workspace), "programs")?,
            ],
        })
    }
}

fn has_target() -> Result<bool> {
    let output = tool::run(Command::new("rustc").args(["--print", "sysroot"]))?;
    let root = PathBuf::from(String::from_utf8(output)?.trim());
    Ok(root.join("lib/rustlib").join(TARGET).exists())
}

/// Fetches that one crate.
fn reach(workspace: &Workspace, package: &str) -> Result<()> {
    if !root(workspace, package).exists() {
        tool::run(workspace.cargo().args(["info", "--quiet", package]))?;
    }
    Ok(())
}

fn root(workspace: &Workspace, package: &str) -> PathBuf {
    let (name, _version) = package.split_once('@').unwrap_or((package, ""));
    workspace.target(name)
}

/// The folder with a package's programs.
fn programs(workspace: &Workspace, package: &str) -> PathBuf {
    root(workspace, package).join("bin")
}

fn install(workspace: &Workspace, package: &str) -> Result<()> {
    let root = root(workspace, package);
    if !root.exists() {
        packages::install(PROTOCOL_BUFFERS)?;
    }
    folder::fill(&root, &format!("building {package}"), |partial| {
        let mut cargo = workspace.cargo();
        // Both have most of what they need in common.
        let common = workspace.target("enclave-tools");
        cargo.env("CARGO_TARGET_DIR", common).arg("install");
        tool::run(cargo.args([package, "--quiet", "--root"]).arg(partial))?;
        Ok(())
    })
}

/// Where enclaves of our own programs are.
fn enclaves(workspace: &Workspace) -> PathBuf {
    workspace.target("edp/enclave")
}

/// Builds the program and makes an enclave of it.
fn make_enclave(workspace: &Workspace) -> Result<()> {
    let target = workspace.target("edp");
    let mut cargo = workspace.cargo();
    cargo
        .current_dir(workspace.source("tests/edp"))
        .env("CARGO_TARGET_DIR", &target);
    tool::run(cargo.args(["build", "--quiet", "--release", "--target", TARGET]))?;
    let program = target.join(TARGET).join("release").join(PROGRAM);
    let folder = enclaves(workspace);
    fs::create_dir_all(&folder)?;
    let converter = programs(workspace, PLATFORM).join("ftxsgx-elf2sgxs");
    let mut converter = Command::new(converter);
    converter.arg(&program).args(LIMITS).arg("--output");
    tool::run(converter.arg(folder.join(PROGRAM).with_extension("sgxs")))?;
    Ok(())
}
