//! The kernel's own SGX selftests, built from Debian's source package under `target/sgx-selftests/`.
//!
//! Only what they need is unpacked. They are linked statically, since domain 0 has no libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::apt::Apt;
use super::folder;
use crate::tool;
use crate::workspace::Workspace;

const PACKAGE: &str = "linux-source-6.1";
/// What the tests include, and the tests.
const PARTS: &[&str] = &[
    "tools/testing/selftests/sgx",
    "tools/testing/selftests/kselftest.h",
    "tools/testing/selftests/kselftest_harness.h",
    "tools/include",
    "arch/x86/include",
];
const TESTS: &str = "tools/testing/selftests/sgx";
/// What goes between the tests and the driver where a second core works against them (docs/sgx.md).
const RETRY: &str = include_str!("selftests_retry.c");
const RETRY_NAME: &str = "retry.c";

/// The folder with the built `test_sgx` and `test_encl.elf`; fetched and built if they are not there yet.
pub fn fetch(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target("sgx-selftests");
    if !folder.exists() {
        download(workspace)?;
    }
    let what = "building the kernel's SGX selftests";
    folder::fill(&folder, what, |partial| build(&sources(workspace), partial))?;
    Ok(folder)
}

/// Fetches their sources if they are not there yet.
///
/// # Errors
/// If the distribution's packages cannot be reached.
pub fn download(workspace: &Workspace) -> Result<()> {
    let what = "fetching the kernel's SGX selftests";
    folder::fill(&sources(workspace), what, unpack)
}

fn sources(workspace: &Workspace) -> PathBuf {
    workspace.target("sgx-selftests.sources")
}

/// The parts of the package's archive that are wanted.
fn unpack(folder: &Path) -> Result<()> {
    Apt::system(PACKAGE)?.unpack(&[PACKAGE], folder)?;
    let archive = format!("root/usr/src/{PACKAGE}.tar.xz");
    let parts = PARTS.iter().map(|part| format!("{PACKAGE}/{part}"));
    run(
        Command::new("tar").args(["-xJf", &archive]).args(parts),
        folder,
    )?;
    fs::remove_file(folder.join(archive))?;
    Ok(())
}

fn build(sources: &Path, built: &Path) -> Result<()> {
    let sources = sources.join(PACKAGE).join(TESTS);
    fs::write(sources.join(RETRY_NAME), RETRY)?;
    program(&sources, &built.join("test_sgx"), &[])?;
    let retrying = [RETRY_NAME, "-Wl,--wrap=ioctl"];
    program(&sources, &built.join("test_sgx_retrying"), &retrying)?;
    let output = built.join("test_encl.elf").display().to_string();
    let enclave = "-static -nostdlib -nostartfiles -fPIC -fno-stack-protector -mrdrnd -w -I../../../include \
                   -Wl,--build-id=none -T test_encl.lds test_encl.c test_encl_bootstrap.S -o";
    let arguments = enclave.split_whitespace().chain([output.as_str()]);
    run(Command::new("cc").args(arguments), &sources)
}

/// The flags of its own Makefile, but static, and without stopping at warnings that it has with other compilers.
fn program(sources: &Path, output: &Path, more: &[&str]) -> Result<()> {
    let output = output.display().to_string();
    let fixed = "-static -g -w -I../../../include -z noexecstack -s main.c load.c sigstruct.c call.S sign_key.S";
    let arguments = fixed.split_whitespace().chain(more.iter().copied()).chain([
        "-o",
        output.as_str(),
        "-lcrypto",
    ]);
    run(Command::new("cc").args(arguments), sources)
}

fn run(command: &mut Command, folder: &Path) -> Result<()> {
    tool::run(command.current_dir(folder))?;
    Ok(())
}
