//! A disk as a machine has it: a GPT with one EFI system partition. Written without any privilege,
//! by sfdisk and the mtools, and the same for the same contents but for the times of the files.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::tool;

pub const MIB: u64 = 1 << 20;
/// Bytes; tables count in it.
pub const SECTOR: u64 = 512;
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
    partition(disk, &table)?;
    format_firmware_partition(disk, START, size)?;
    let mtool = |name: &str| mtool(name, disk, START);
    let mut made = Vec::new();
    for (path, bytes) in files {
        for (end, _) in path.match_indices('/') {
            let folder = path.get(..end).unwrap_or_default();
            if !made.contains(&folder) {
                tool::run(mtool("mmd").arg(format!("::{folder}")))?;
                made.push(folder);
            }
        }
        let staged = disk.with_extension("file");
        fs::write(&staged, bytes)?;
        tool::run(mtool("mcopy").arg(&staged).arg(format!("::{path}")))?;
        fs::remove_file(&staged)?;
    }
    Ok(())
}

/// Writes sfdisk's `table` to the disk.
pub fn partition(disk: &Path, table: &str) -> Result<()> {
    let mut command = Command::new("/sbin/sfdisk");
    tool::feed(command.arg("--quiet").arg(disk), table.as_bytes())?;
    Ok(())
}

/// Makes the file system of an EFI system partition, whose serial number is 4144-5954, of `size` bytes at `start`.
pub fn format_firmware_partition(disk: &Path, start: u64, size: u64) -> Result<()> {
    let sectors = (size / SECTOR).to_string();
    let mut command = mtool("mformat", disk, start);
    tool::run(command.args(["-F", "-c", "1", "-N", "41445954", "-T", &sectors, "::"]))?;
    Ok(())
}

/// One of the mtools, on the partition at `start`.
fn mtool(name: &str, disk: &Path, start: u64) -> Command {
    let mut command = Command::new(name);
    command.args(["-i", &format!("{}@@{start}", disk.display())]);
    command
}
