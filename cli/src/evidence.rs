//! `adyton evidence`: what this machine proves about a domain or an enclave, in a file for `adyton verify`.

use std::fs;
use std::path::{Path, PathBuf};

use adyton::abi::enclave::REPORT_SIZE;
use adyton::{Domain, Image};

use crate::Arguments;
use crate::failure::Failure;
use crate::run;
use crate::verify::{bytes, read};

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
    /// About the SGX enclave that made this REPORT (432 bytes) for the monitor, instead of a domain
    #[arg(long, value_name = "FILE", conflicts_with = "Options")]
    enclave_report: Option<PathBuf>,
    #[command(flatten)]
    program: Option<run::Options>,
}

/// About an enclave, or about a domain.
pub fn print(arguments: &Arguments, options: &Options) -> Result<(), Failure> {
    match (&options.enclave_report, &options.program) {
        (Some(report), _) => of_enclave(options, report),
        (None, Some(program)) => of_domain(arguments, options, program),
        (None, None) => Err(Failure::NoSubject),
    }
}

fn of_enclave(options: &Options, path: &Path) -> Result<(), Failure> {
    let report = read(path)?;
    let wrong = |_| {
        Failure::unusable(
            path,
            format_args!("is no REPORT, which has {REPORT_SIZE} bytes"),
        )
    };
    let report = <[u8; REPORT_SIZE]>::try_from(report).map_err(wrong)?;
    let nonce = bytes(&options.nonce)?;
    save(&adyton::enclave_evidence(&nonce, &report)?, &options.output)
}

/// Builds the domain, and does not run it.
fn of_domain(
    arguments: &Arguments,
    options: &Options,
    described: &run::Options,
) -> Result<(), Failure> {
    let file = described.read()?;
    let image = Image::parse(&file).map_err(adyton::Failure::from)?;
    let program = described.program(image)?;
    let claim = arguments.pool()?.claim(program.claim_size())?;
    let loaded = program.build(&claim)?;
    described.seal(&loaded)?;
    write(&loaded.domain, &options.nonce, &options.output)
}

/// Writes evidence about a domain of this process's.
pub fn write(domain: &Domain, nonce: &str, output: &Path) -> Result<(), Failure> {
    save(&domain.evidence(&bytes(nonce)?)?, output)
}

fn save(evidence: &[u8], output: &Path) -> Result<(), Failure> {
    fs::write(output, evidence).map_err(Failure::file(output))
}
