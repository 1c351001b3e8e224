//! Measures calls and entries in TSC ticks, which are instructions under `-icount shift=0`: everything that the core
//! executes, the monitor's part included. The first argument says what is measured; see `bench/*.toml`.
#![deny(unsafe_code)]

mod devices;
mod enclaves;
mod entering;
mod evidence;
mod exits;
mod kvm;
mod meter;
mod network;
mod programs;
mod scale;
mod sizes;
mod throughput;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match measure(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("adyton-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(words: &[&str]) -> Result<()> {
    match words {
        [] => entering::domains(),
        ["kvm"] => {
            meter::report_instructions("kvm-run", kvm::round_trip()?);
            Ok(())
        }
        ["carve"] => devices::carve(),
        ["enclaves"] => enclaves::enclaves(),
        ["programs", unit] => programs::programs(unit),
        ["disk"] => devices::disk(),
        ["network"] => network::network(),
        ["message"] => devices::message(),
        ["building"] => sizes::building(),
        ["ragged"] => sizes::ragged(),
        ["ranges"] => sizes::ranges(),
        ["scale", count] => scale::scale(count.parse()?),
        ["evidence", count] => evidence::evidence(count.parse()?),
        ["exits", kind] => exits::exits(kind),
        ["throughput"] => throughput::throughput(),
        other => bail!("no measurement {other:?}"),
    }
}
