//! `adyton evidence`: what this machine proves about a domain, in a file for `adyton verify`.

use std::fs;
use std::path::{Path, PathBuf};

use adyton::{Domain, Image};
use adyton_evidence::files;

use crate::Arguments;
use crate::failure::Failure;
use crate::run;

/// What is asked, and about what.
#[derive(clap::Args)]
#[group(id = "asked")]
pub struct Options {
    /// The nonce that the relying party sent: 8 to 64 bytes in hexadecimal
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// Where the evidence goes
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    program: run::Options,
}

/// Builds the domain, and does not run it.
pub fn print(arguments: &Arguments, options: &Options) -> Result<(), Failure> {
    let file = options.program.read()?;
    let image = Image::parse(&file).map_err(adyton::Failure::from)?;
    let program = options.program.program(image)?;
    let claim = arguments.pool()?.claim(program.claim_size())?;
    let loaded = program.build(&claim)?;
    options.program.seal(&loaded)?;
    write(&loaded.domain, &options.nonce, &options.output)
}

/// Writes evidence about a domain of this process's.
pub fn write(domain: &Domain, nonce: &str, output: &Path) -> Result<(), Failure> {
    let nonce = files::from_hexadecimal(nonce).ok_or_else(|| Failure::Hexadecimal(nonce.into()))?;
    let evidence = domain.evidence(&nonce)?;
    fs::write(output, evidence).map_err(Failure::file(output))
}
