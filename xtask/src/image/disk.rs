//! A disk as a machine has it: a GPT with one EFI system partition. Written without any privilege,
//! by sfdisk and the mtools, and the same for the same contents but for the times of the files.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Where the partition begins; the second table lies in the last MiB.
const START: u64 = MIB;
/// For the file system's own tables.
const SLACK: u64 = 8 * MIB;
/// With one sector for a cluster, this many make it FAT32.
const SMALLEST: u64 = 40 * MIB;

/// Writes a disk with these files, by their paths, to `disk`. Folders are made as needed.
pub fn write(disk: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    let contents: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    // The tables of clusters take a 64th.
    let size = (contents + contents / 32 + SLACK)
        .max(SMALLEST)
        .next_multiple_of(MIB);
    File::create(disk)
        .and_then(|file| file.set_len(START + size + MIB))
        .with_context(|| disk.display().to_string())?;
    let table = format!(
        "label: gpt\nlabel-id: 41445954-4f4e-4000-8000-000000000001\n\
         start={}, size={}, type=uefi, uuid=41445954-4f4e-4000-8000-000000000002, name=adyton\n",
        START / SECTOR,
        size / SECTOR
    );
    run(
        Command::new("/sbin/sfdisk").arg("--quiet").arg(disk),
        table.as_bytes(),
    )?;
    let partition = format!("{}@@{START}", disk.display());
    let mtool = |name: &str| {
        let mut command = Command::new(name);
        command.args(["-i", &partition]);
        command
    };
    let sectors = (size / SECTOR).to_string();
    run(
        mtool("mformat").args(["-F", "-c", "1", "-N", "41445954", "-T", &sectors, "::"]),
        &[],
    )?;
    let mut made = Vec::new();
    for (path, bytes) in files {
        for (end, _) in path.match_indices('/') {
            let folder = path.get(..end).unwrap_or_default();
            if !made.contains(&folder) {
                run(mtool("mmd").arg(format!("::{folder}")), &[])?;
                made.push(folder);
            }
        }
        let staged = disk.with_extension("file");
        fs::write(&staged, bytes)?;
        run(mtool("mcopy").arg(&staged).arg(format!("::{path}")), &[])?;
        fs::remove_file(&staged)?;
    }
    Ok(())
}

fn run(command: &mut Command, input: &[u8]) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| name.clone())?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(input)?;
    let status = child.wait()?;
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}
