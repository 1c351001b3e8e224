//! The `adyton` command: what a person sees and does with security domains.
#![forbid(unsafe_code)]

#[macro_use]
mod show;

mod device;
mod end;
mod enroll;
mod evidence;
mod failure;
mod graph;
mod identity;
mod inspect;
mod list;
mod loader;
mod log;
mod machine;
mod manual;
mod measure;
mod run;
mod sign;
mod snapshot;
mod status;
mod tree;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use machine::System;

/// Run programs in security domains that the rest of this system, root and kernel included, cannot read.
///
/// The Adyton monitor runs below this Linux. It offers memory for domains as a dax device (`/dev/dax0.0`):
/// whoever may read and write that device may use domains, no other right is needed.
#[derive(Parser)]
#[command(name = "adyton", version, after_help = EXAMPLES)]
struct Arguments {
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// The pool device; without it the first that may be opened
    #[arg(long, global = true, value_name = "FILE")]
    device: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  adyton status                          what runs here, what is protected and what is not
  adyton run hello one two               a confidential domain: nobody else sees its memory
  adyton run --sandbox FILE              a sandbox: it sees nothing of you, you see all of it
  adyton tree                            who holds what, and who shares it with whom
  adyton gc                              take back what dead programs left behind
  adyton evidence --nonce 0123456789abcdef -o evidence hello
                                         what this machine proves about such a domain
  adyton verify EVIDENCE --nonce 0123456789abcdef --policy policy.toml --anchors anchors.toml
                                         whether another machine runs what it should";

#[derive(Subcommand)]
enum Command {
    /// Tell what the monitor is, what it has, what it protects and what it does not
    Status,
    /// Run a payload in a domain of its own, with this terminal as its console
    Run(run::Invocation),
    /// List claims and the domains in them
    Ls,
    /// Show the composition: domains in domains, their memory, and what is shared
    Tree,
    /// Tell everything that may be known about one domain
    Inspect {
        /// Its id, as `ls` and `tree` show it
        domain: String,
    },
    /// End a claim and every domain in it
    ///
    /// Domains can be destroyed one by one only by who has the claim's key. The right to write the pool device
    /// suffices to end the whole claim; its memory is scrubbed before anybody else gets it.
    Kill {
        /// Id of a domain in it, or the claim's offset as `ls` shows it
        target: String,
    },
    /// Release the claims of programs that have ended
    Gc,
    /// Print the monitor's log (for root; there are no contents of domains in it)
    Log,
    /// PCI functions: list them, take one from the kernel for a domain, give it back
    #[command(subcommand)]
    Device(device::Command),
    /// Compute the measurement that a payload's domain will have, without a monitor
    ///
    /// Takes what `run` takes, and says what `inspect` will show and what a policy names.
    Measure(measure::Options),
    /// Sign a payload's domain: who stands behind it, for which product, in which version
    ///
    /// Measures the domain as `run --signature` makes it, which passes the signature on; keys and evidence by signer follow once the
    /// payload has shown it to the monitor. Prints the measurement and what policies name: SHA-256 of the public key.
    Sign(sign::Options),
    /// Write what this machine proves about a payload's domain, or about an SGX enclave: evidence for `verify`
    ///
    /// Builds the domain as `run` would, and does not start it. Evidence that its owner asks for binds no key: a payload that
    /// speaks to others asks itself (`--attest`). `run --evidence` writes it about a domain that then runs.
    /// An enclave makes a REPORT for the monitor (EREPORT, with a TARGETINFO that begins with the 32 letters
    /// `Adyton turns reports to evidence` and is zero behind them): `--enclave-report` turns that into evidence.
    Evidence(evidence::Options),
    /// Decide about evidence from another machine
    ///
    /// Exit status: 0 accepted, 2 refused, 1 if nothing could be decided, as where a file is missing.
    Verify(verify::Options),
    /// Print what a boot loader did on the machine that gave this evidence, as a `[[loader]]` for the anchors of `verify`
    ///
    /// For a person to read, who knows what that machine's GRUB should do. Signatures are not checked: that the machine did
    /// this is proven when `verify` accepts its evidence with these anchors.
    Loader(loader::Options),
    /// Draw the composition that evidence states, as SVG or DOT; `verify` tells whether to believe it
    Graph(graph::Options),
    /// Print what identifies this machine: its TPM's certificate and attestation key
    Identity,
    /// Answer the challenge of somebody who enrols this machine
    Activate {
        /// What `enroll --challenge` wrote
        challenge: std::path::PathBuf,
    },
    /// Come to know another machine: from the certificate of its TPM to anchors for `verify`
    Enroll(enroll::Options),
    /// Make the pool's devices ready, one for each tenant in /etc/adyton.toml (for root)
    Setup,
    /// Keep what the machine boots up to date: the monitor, the kernel on it, its command line (for root)
    Boot {
        /// The system's root folder
        #[arg(long, value_name = "FOLDER", default_value = "/")]
        root: std::path::PathBuf,
        #[command(subcommand)]
        command: machine::boot::Command,
    },
    /// Look whether this machine has what Adyton needs, and say what to do
    ///
    /// Exit status: 1 if something prevents the monitor from running.
    Doctor,
    /// Write manual pages and completions to a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        folder: std::path::PathBuf,
    },
}

fn main() -> miette::Result<ExitCode> {
    let arguments = Arguments::parse();
    let done = |(): ()| ExitCode::SUCCESS;
    let outcome = match &arguments.command {
        Command::Setup => machine::pool::setup(&System::at("/")).map(done),
        Command::Boot { root, command } => machine::boot::run(&System::at(root), command).map(done),
        Command::Doctor => machine::doctor::print(&System::at("/"), arguments.json),
        Command::Manual { folder } => manual::write(folder).map(done),
        Command::Status => status::print(&arguments).map(done),
        Command::Run(options) => run::run(&arguments, options),
        Command::Ls => list::print(&arguments).map(done),
        Command::Tree => tree::print(&arguments).map(done),
        Command::Inspect { domain } => inspect::print(&arguments, domain).map(done),
        Command::Kill { target } => end::kill(&arguments, target).map(done),
        Command::Gc => end::collect(&arguments).map(done),
        Command::Log => log::print(&arguments).map(done),
        Command::Device(command) => device::run(&arguments, command).map(done),
        Command::Measure(options) => measure::print(&arguments, options).map(done),
        Command::Sign(options) => sign::print(&arguments, options).map(done),
        Command::Evidence(options) => evidence::print(&arguments, options).map(done),
        Command::Verify(options) => verify::print(&arguments, options),
        Command::Loader(options) => loader::print(options).map(done),
        Command::Graph(options) => graph::print(options).map(done),
        Command::Identity => identity::print(&arguments).map(done),
        Command::Activate { challenge } => identity::activate(&arguments, challenge).map(done),
        Command::Enroll(options) => enroll::run(options).map(done),
    };
    Ok(outcome?)
}

impl Arguments {
    fn pool(&self) -> Result<adyton::Pool, failure::Failure> {
        let pool = match &self.device {
            Some(path) => adyton::Pool::open(path),
            None => adyton::Pool::discover(),
        };
        Ok(pool?)
    }
}
