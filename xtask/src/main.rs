//! `cargo xtask`: the one entry to set up, build, boot, test and measure Adyton.
//!
//! A command is told here from top to bottom; each room below does one thing: [`setup`] brings what
//! the distribution has to give, [`build`] compiles for the places where our code runs, [`image`]
//! packs what boots, [`package`] what an operator installs, [`qemu`] starts and watches one machine, [`suite`] holds the tests and
//! [`bench`] the measurements. Nothing in this crate needs `unsafe`, and a child process is only
//! ever ended by the handle of the one who started it.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod demo;
mod disk;
mod guest;
mod image;
mod installation;
mod interactive;
mod licences;
mod package;
mod progress;
mod qemu;
mod setup;
mod suite;
mod tool;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Set up, build, boot, test and measure Adyton.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up, build, boot and run the demonstration
    Demo(demo::Options),
    /// Run the tests: everything CI runs, `quick`, `all`, or those whose name contains FILTER
    Test {
        /// `quick`, `all`, a test's full name, or a part of names
        filter: Option<String>,
        /// Print the names and do nothing
        #[arg(long)]
        list: bool,
        /// Boot guests without the monitor, to see whether a failure is its own
        #[arg(long)]
        no_monitor: bool,
    },
    /// Boot to a shell in domain 0
    Run(Box<interactive::Options>),
    /// Measure, and write `bench/results.json`
    Bench {
        /// Only measurements of boots whose name contains this
        filter: Option<String>,
    },
    /// Write a disk from which UEFI firmware starts the monitor
    Image(disk::Options),
    /// Print what a verifier should find in evidence, as JSON
    Reference(disk::Reference),
    /// Write the Debian package
    Deb(package::Options),
    /// Build everything that boots, and print where it is
    Build,
    /// Install and fetch what the other commands need
    Setup,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Test {
            filter, list: true, ..
        } => suite::list(&workspace, filter.as_deref()),
        Command::Test {
            filter, no_monitor, ..
        } => suite::run(&workspace, filter.as_deref(), !no_monitor),
        Command::Demo(options) => demo::run(&workspace, &options),
        Command::Run(options) => interactive::run(&workspace, &options),
        Command::Image(options) => disk::run(&workspace, &options),
        Command::Reference(options) => disk::print_reference(&workspace, &options),
        Command::Deb(options) => package::run(&workspace, &options),
        Command::Bench { filter } => bench::run(&workspace, filter.as_deref()),
        Command::Build => {
            setup::packages()?;
            let programs = build::everything(&workspace, build::Monitors::PRODUCT)?;
            programs
                .paths()
                .for_each(|path| println!("{}", path.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Setup => {
            setup::packages()?;
            setup::kernel(&workspace, setup::Flavour::Cloud)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
