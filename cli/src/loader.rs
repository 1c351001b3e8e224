//! `adyton loader`: what a boot loader did, from evidence to anchors.

use std::path::PathBuf;

use adyton_evidence::files;

use crate::failure::Failure;
use crate::verify::read;

/// Whose boot.
#[derive(clap::Args)]
pub struct Options {
    /// The evidence
    file: PathBuf,
    /// What the boot loader is called in the anchors
    #[arg(long, value_name = "NAME", default_value = "this boot loader")]
    name: String,
}

/// Prints it.
pub fn print(options: &Options) -> Result<(), Failure> {
    let found = files::loader(&read(&options.file)?, &options.name);
    let found = found.map_err(|reason| Failure::unusable(&options.file, reason))?;
    say!("{}", found.trim_end());
    Ok(())
}
