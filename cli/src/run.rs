//! `adyton run`: a payload in a domain of its own, with this terminal as its console.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::{fs, io, thread};

use adyton::abi::PAGE_SIZE;
use adyton::convention::SIGNATURE_WINDOW;
use adyton::{
    Console, Domain, Exit, Flags, Function, Image, Loaded, Outcome, Program, READ_WRITE,
    RegionName, Vcpu,
};
use adyton_secrets::signature;
use nix::sys::signal::{SigSet, Signal};

use crate::Arguments;
use crate::evidence;
use crate::failure::Failure;
use crate::show::parse_size;

/// What the domain gets.
#[derive(clap::Args)]
pub struct Options {
    /// Let this process see and set all of the domain's registers: isolation of the payload, not from you
    #[arg(long)]
    sandbox: bool,
    /// Make a debug domain: its memory can be read, and evidence says so
    #[arg(long)]
    debug: bool,
    /// Let the payload build domains of its own in its pool
    #[arg(long)]
    compose: bool,
    /// Let the payload ask for evidence about itself
    #[arg(long)]
    attest: bool,
    /// Private memory besides the image: bytes, or with K, M, G
    #[arg(long, value_name = "SIZE", default_value = "1M")]
    memory: String,
    /// A pool of its own
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pool: String,
    /// vCPUs
    #[arg(long, value_name = "N", default_value_t = 1)]
    vcpus: u64,
    /// Give it a PCI function, as `adyton device ls` shows it: 00:04.0
    #[arg(long, value_name = "FUNCTION")]
    function: Option<String>,
    /// Give it a core of its own that was taken offline before, and run its first vCPU there; with one vCPU it runs nowhere else
    #[arg(long, value_name = "N")]
    core: Option<u64>,
    /// Pass the domain's signature on, as `adyton sign` wrote it: the payload finds it in window 6
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The payload: a static ELF file linked against `adyton-runtime`. A plain name is also looked for in
    /// $ADYTON_PAYLOADS, /payloads and /usr/lib/adyton/payloads
    file: PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// What the domain gets, and what is asked about it.
#[derive(clap::Args)]
pub struct Invocation {
    /// Write evidence about the domain into this file before it starts
    #[arg(long, value_name = "FILE", requires = "nonce")]
    evidence: Option<PathBuf>,
    /// The nonce for that: 8 to 64 bytes in hexadecimal
    #[arg(long, value_name = "HEX", requires = "evidence")]
    nonce: Option<String>,
    #[command(flatten)]
    program: Options,
}

impl Options {
    fn flags(&self) -> Flags {
        let mut flags = if self.sandbox {
            Flags::NONE
        } else {
            Flags::CONFIDENTIAL
        };
        if self.debug {
            flags = flags | Flags::DEBUG;
        }
        if self.attest {
            flags = flags | Flags::MAY_ATTEST;
        }
        if self.compose {
            flags | Flags::MAY_COMPOSE
        } else {
            flags
        }
    }

    /// The file and its contents.
    pub fn read(&self) -> Result<Vec<u8>, Failure> {
        let path = find(&self.file);
        fs::read(&path).map_err(Failure::file(path))
    }

    /// What the domain will be made of.
    pub fn program<'data>(&'data self, image: Image<'data>) -> Result<Program<'data>, Failure> {
        let size = |text: &str| parse_size(text).ok_or_else(|| Failure::Size(text.into()));
        let mut program = Program::new(image, self.flags());
        program.arguments = self.arguments.iter().map(String::as_str).collect();
        program.heap = size(&self.memory)?;
        program.pool = size(&self.pool)?;
        program.vcpus = self.vcpus.max(1);
        if self.signature.is_some() {
            program.windows[SIGNATURE_WINDOW] = PAGE_SIZE;
        }
        if self.core.is_some() && program.vcpus == 1 {
            // It runs on its core and nowhere else, as evidence then says.
            program.cores = Some((0, 0));
        }
        if let Some(name) = &self.function {
            program.device = Some(Function::find(name)?.facts()?.kind());
        }
        Ok(program)
    }

    /// Gives the domain its signature, its function and its core, if it gets any, and seals it; the core's region.
    pub fn seal(&self, loaded: &Loaded) -> Result<Option<RegionName>, Failure> {
        if let Some(path) = &self.signature {
            let bytes = fs::read(path).map_err(Failure::file(path))?;
            if bytes.len() != signature::SIZE {
                return Err(Failure::unusable(path, "not a signature of `adyton sign`"));
            }
            let mut windows = loaded.windows.iter();
            if let Some((_, window)) = windows.find(|(index, _)| *index == SIGNATURE_WINDOW) {
                window.write(0, &bytes);
            }
        }
        if let Some(name) = &self.function {
            let base = loaded.plan.device().base;
            Function::find(name)?.assign(&loaded.domain, base, READ_WRITE)?;
        }
        let core = self.core.map(|core| loaded.domain.carve_core(core));
        let core = core.transpose()?;
        loaded.domain.seal()?;
        Ok(core)
    }
}

/// Exit status where the payload has none of its own.
const ENDED_OTHERWISE: u8 = 125;

pub fn run(arguments: &Arguments, invocation: &Invocation) -> Result<ExitCode, Failure> {
    let options = &invocation.program;
    let file = options.read()?;
    let program = options.program(Image::parse(&file).map_err(adyton::Failure::from)?)?;
    let claim = arguments.pool()?.claim(program.claim_size())?;
    let loaded = program.build(&claim)?;
    let core = options.seal(&loaded)?;
    if let (Some(file), Some(nonce)) = (&invocation.evidence, &invocation.nonce) {
        evidence::write(&loaded.domain, nonce, file)?;
    }
    let console = Console::of(&loaded).map(|console| console.on_core(core));
    let Loaded {
        vcpus,
        domain,
        windows: _windows,
        plan: _plan,
    } = loaded;
    let domain = Arc::new(domain);
    let ending = end_on_signals(Arc::downgrade(&domain));
    let outcome = enter_all(vcpus, console);
    match (outcome, ENDED_BY.load(Ordering::Acquire)) {
        // On a core of its own it is stopped first.
        (Ok(outcome), signal) if signal == 0 || outcome != Outcome::Exit(Exit::Abandoned) => {
            Ok(report(arguments, outcome))
        }
        (Err(failure), 0) => Err(failure),
        // As a shell tells of programs that a signal ended. The thread still holds the domain: were it left alone, the
        // process would end before the claim is released.
        (_, signal) => {
            let _panicked = ending.join();
            Ok(ExitCode::from(128 + signal as u8))
        }
    }
}

/// Where payloads lie: in the system of `cargo xtask run`, and where the package puts them.
const PAYLOADS: [&str; 2] = ["/payloads", "/usr/lib/adyton/payloads"];

/// The file itself, or where payloads are kept.
fn find(file: &Path) -> PathBuf {
    if file.exists() || file.components().count() > 1 {
        return file.to_owned();
    }
    let named = std::env::var_os("ADYTON_PAYLOADS").map(PathBuf::from);
    let folders = named.into_iter().chain(PAYLOADS.map(PathBuf::from));
    let mut paths = folders.map(|folder| folder.join(file));
    paths
        .find(|path| path.exists())
        .unwrap_or_else(|| file.to_owned())
}

/// The signal that ended the domain, if one did.
static ENDED_BY: AtomicI32 = AtomicI32::new(0);

/// A signal that asks this process to end destroys the domain first: entries then return, and everything is
/// taken back in order.
fn end_on_signals(domain: Weak<Domain>) -> JoinHandle<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    // Threads that are made later inherit this. A refusal leaves the signals to end the process at once.
    let _refused = signals.thread_block();
    thread::spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        ENDED_BY.store(signal as i32, Ordering::Release);
        if let Some(domain) = domain.upgrade() {
            let _gone_already = domain.destroy();
        }
    })
}

/// Every vCPU on a thread of its own; the first one's outcome is the payload's.
fn enter_all(mut vcpus: Vec<Vcpu>, console: Option<Console>) -> Result<Outcome, Failure> {
    let others = vcpus.split_off(1);
    let threads: Vec<_> = others
        .into_iter()
        .map(|mut vcpu| thread::spawn(move || while let Ok(Exit::Halt) = vcpu.enter(0) {}))
        .collect();
    let first = &mut vcpus[0];
    let outcome = match console {
        Some(mut console) => console.run(first, 0, &mut io::stdin(), &mut io::stdout())?,
        None => Outcome::Exit(first.enter(0)?),
    };
    drop(threads);
    Ok(outcome)
}

fn report(arguments: &Arguments, outcome: Outcome) -> ExitCode {
    let (status, text) = match outcome {
        Outcome::Finished(status) => (status as u8, format!("finished with status {status}")),
        Outcome::Fault(vector) => (
            ENDED_OTHERWISE,
            format!("exception {vector} in the payload"),
        ),
        Outcome::Panic => (ENDED_OTHERWISE, "the payload panicked".into()),
        Outcome::Exit(exit) => (ENDED_OTHERWISE, format!("the domain stopped: {exit:x?}")),
    };
    if arguments.json {
        eprintln!(
            "{}",
            serde_json::json!({ "status": status, "outcome": text })
        );
    } else if !matches!(outcome, Outcome::Finished(_)) {
        eprintln!("adyton: {text}");
    }
    ExitCode::from(status)
}
