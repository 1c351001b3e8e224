//! Manual pages and the shells' completions, from the same definitions that the command line is read by.

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Arguments;
use crate::failure::Failure;

/// Writes `man1/*.1` and the completions of bash, fish and zsh to a folder.
pub fn write(folder: &Path) -> Result<(), Failure> {
    write_all(folder).map_err(Failure::file(folder))
}

fn write_all(folder: &Path) -> std::io::Result<()> {
    let pages = folder.join("man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(Arguments::command(), &pages)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Arguments::command(), "adyton", folder)?;
    }
    Ok(())
}
