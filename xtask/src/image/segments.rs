//! The segments of which an initrd is put together.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cpio::Archive;
use super::modules::Modules;
use crate::build::Programs;
use crate::setup::Kernel;
use crate::workspace::Workspace;

const BUSYBOX: &str = "/bin/busybox";

/// Modules of domain 0: the pool's driver, a RAM disk, the processor's registers, virtio, and KVM for comparisons.
const MODULES: &[&str] = &[
    "device_dax",
    "dax_hmem",
    "brd",
    "msr",
    "efivarfs",
    "kvm_amd",
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
];

/// busybox, our programs and payloads, and the guest side of tests and demonstration.
pub fn system(workspace: &Workspace, programs: &Programs) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in [
        "dev", "proc", "sys", "tmp", "run", "root", "mnt", "sbin", "usr/bin",
    ] {
        archive.directory(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n",
    );
    archive.file("etc/group", 0o644, b"root:x:0:\nuser:x:1000:\n");
    add_busybox(&mut archive)?;
    add_folder(&mut archive, &workspace.source("xtask/assets/guest"), "")?;
    add_folder(&mut archive, &workspace.source("tests/guest"), "tests/")?;
    add_folder(&mut archive, &workspace.source("bench/guest"), "bench/")?;
    add_folder(&mut archive, &workspace.source("demo/guest"), "demo/")?;
    add_files(&mut archive, &programs.programs, "bin")?;
    add_files(&mut archive, &programs.payloads, "payloads")?;
    Ok(archive.finish())
}

/// A kernel's modules, as `modprobe` looks for them.
pub fn kernel_modules(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut modules = Modules::list(&kernel.modules)?;
    MODULES.iter().try_for_each(|name| modules.add(name))?;
    let mut archive = Archive::default();
    let folder = format!("lib/modules/{}", kernel.release);
    for module in modules.loaded() {
        archive.file(
            &format!("{folder}/{}", module.file),
            0o644,
            &module.contents,
        );
    }
    archive.file(
        &format!("{folder}/modules.dep"),
        0o644,
        modules.index().as_bytes(),
    );
    Ok(archive.finish())
}

/// What this boot does: a shell script that `/init` runs, with files of its own.
pub fn start(script: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file(
        "adyton/start",
        0o755,
        format!("#!/bin/sh\n{script}\n").as_bytes(),
    );
    for (path, contents) in files {
        archive.file(path, 0o644, contents.as_bytes());
    }
    archive.finish()
}

/// The kernel's own file, for a domain 0 that starts it in its own place.
pub fn second_kernel(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    add_file(&mut archive, &kernel.image, "adyton/kernel")?;
    Ok(archive.finish())
}

/// Programs of the host's distribution with the libraries that they need: what checks our results must not be ours.
pub fn host_programs<S: AsRef<Path>>(names: &[S]) -> Result<Vec<u8>> {
    let host = Path::new("/usr/bin");
    programs(&names.iter().map(|name| host.join(name)).collect::<Vec<_>>())
}

/// Programs with the libraries that they need, in `/usr/bin`.
pub fn programs(programs: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for program in programs {
        let name = program.file_name().context("a program without a name")?;
        add_file(
            &mut archive,
            program,
            &format!("usr/bin/{}", name.display()),
        )?;
        for library in libraries(program)? {
            add_file(&mut archive, &library, &library.to_string_lossy()[1..])?;
        }
    }
    Ok(archive.finish())
}

/// A folder of the host's, at `place` in the guest.
pub fn folder(folder: &Path, place: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    add_folder(&mut archive, folder, &format!("{place}/"))?;
    Ok(archive.finish())
}

/// The libraries that the dynamic loader would load, itself included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    ensure!(
        output.status.success(),
        "ldd cannot read {}",
        program.display()
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

fn add_busybox(archive: &mut Archive) -> Result<()> {
    add_file(archive, Path::new(BUSYBOX), "bin/busybox")?;
    let output = Command::new(BUSYBOX).arg("--list").output()?;
    for applet in String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|name| *name != "busybox")
    {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

/// Adds the files of a folder, sorted; a folder that is not there adds nothing.
fn add_folder(archive: &mut Archive, folder: &Path, place: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    for path in paths {
        let name = path
            .file_name()
            .context("a file without a name")?
            .to_string_lossy();
        if path.is_dir() {
            add_folder(archive, &path, &format!("{place}{name}/"))?;
        } else {
            add_file(archive, &path, &format!("{place}{name}"))?;
        }
    }
    Ok(())
}

fn add_files(archive: &mut Archive, files: &[PathBuf], place: &str) -> Result<()> {
    for path in files {
        let name = path
            .file_name()
            .context("a program without a name")?
            .to_string_lossy();
        add_file(archive, path, &format!("{place}/{name}"))?;
    }
    Ok(())
}

/// Everything is executable: scripts and programs are, and it does no harm to the rest.
fn add_file(archive: &mut Archive, path: &Path, place: &str) -> Result<()> {
    let contents = fs::read(path).with_context(|| path.display().to_string())?;
    archive.file(place, 0o755, &contents);
    Ok(())
}
