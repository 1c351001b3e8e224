//! `cargo xtask run`: domain 0 on the terminal, or on standard output without one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::build::Monitors;
use crate::guest::{Firmware, Images, Settings};
use crate::image;
use crate::qemu::{self, Board, Ending, Machine, Tpm};
use crate::setup::{self, Flavour};
use crate::workspace::Workspace;

/// The exit status after a timeout, as that of timeout(1).
const TIMED_OUT: u8 = 124;

/// Boot to a shell in domain 0. Ends when the guest powers off: status 0 then, 1 after a reset,
/// 124 after a timeout. On a terminal, Ctrl-A X ends QEMU.
#[derive(Args)]
pub struct Options {
    /// Number of cores
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// Size of memory, for example 512M or 8G
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: String,
    /// Pool: SIZE, SIZE@ADDRESS, SIZE@above4g or SIZE@below4g [default: the monitor's choice]
    #[arg(long, value_name = "SIZE[@PLACE]", default_value = "")]
    pool: String,
    /// The board
    #[arg(long, value_enum, default_value_t = Board::Q35)]
    machine: Board,
    /// What starts the monitor: QEMU itself, unmeasured, or UEFI firmware from a disk
    #[arg(long, value_enum, default_value_t = Firmware::Pvh)]
    firmware: Firmware,
    /// Give the machine a TPM 2.0 [default with UEFI: crb]
    #[arg(long, value_enum)]
    tpm: Option<Tpm>,
    /// The processor, as QEMU takes it
    #[arg(long, value_name = "MODEL", default_value = "EPYC,+svm")]
    processor: String,
    /// A kernel image of your own, or `cloud`, `generic`, `trixie` for Debian's
    #[arg(long, value_name = "FILE", default_value = "cloud")]
    kernel: String,
    /// An initrd of your own
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// More words for the command line
    #[arg(
        long,
        value_name = "STRING",
        default_value = "",
        allow_hyphen_values = true
    )]
    append: String,
    /// End after so many seconds
    #[arg(long, value_name = "S")]
    timeout: Option<u64>,
    /// The emulator
    #[arg(long, value_name = "PATH", default_value = "qemu-system-x86_64")]
    qemu: PathBuf,
    /// Boot the same kernel and initrd without the monitor, to compare
    #[arg(long)]
    no_monitor: bool,
    /// Run a command instead of the shell, then power off
    #[arg(long, value_name = "COMMAND", conflicts_with = "initrd")]
    exec: Option<String>,
    /// Show the kernel's messages while it boots
    #[arg(long)]
    verbose: bool,
    /// Count time in instructions (all cores in one thread)
    #[arg(long)]
    icount: bool,
    /// Give each core a host thread of its own: faster, and with more than one core at the risk that docs/emulators.md tells
    #[arg(long)]
    parallel: bool,
    /// Give the machine an IOMMU
    #[arg(long)]
    iommu: bool,
    /// More arguments for QEMU, separated by spaces
    #[arg(
        long,
        value_name = "ARGUMENTS",
        default_value = "",
        allow_hyphen_values = true
    )]
    qemu_arguments: String,
}

/// Sets up, builds, boots, and passes the console through.
pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    setup::packages()?;
    let folder = workspace.target(format!("boots/run-{}", std::process::id()));
    let machine = prepare(workspace, options, &folder);
    let messages = folder.join("qemu.log");
    let ending = machine.and_then(|machine| attach(&machine, options.timeout, &messages));
    if matches!(&ending, Ok(Ending::Failed(_)) | Err(_)) {
        eprint!("{}", fs::read_to_string(&messages).unwrap_or_default());
    }
    let _ = fs::remove_dir_all(&folder);
    Ok(match ending? {
        Ending::PowerOff => ExitCode::SUCCESS,
        Ending::Reset => {
            eprintln!("-- the guest reset");
            ExitCode::FAILURE
        }
        Ending::Killed => {
            eprintln!("-- ended after {} s", options.timeout.unwrap_or_default());
            ExitCode::from(TIMED_OUT)
        }
        Ending::Failed(reason) => {
            eprintln!("-- QEMU ended: {reason}");
            ExitCode::FAILURE
        }
    })
}

impl Options {
    fn settings(&self, flavour: Flavour) -> Settings {
        let quiet = if self.verbose || self.initrd.is_some() {
            ""
        } else {
            "quiet loglevel=3 "
        };
        Settings {
            cpus: self.cpus,
            memory: self.memory.clone(),
            machine: self.machine,
            firmware: self.firmware,
            tpm: self
                .tpm
                .or((self.firmware == Firmware::Uefi).then_some(Tpm::Crb)),
            processor: self.processor.clone(),
            kernel: flavour,
            pool: self.pool.clone(),
            append: format!("{quiet}{}", self.append),
            monitor: !self.no_monitor,
            icount: self.icount,
            parallel: self.parallel,
            iommu: self.iommu,
            qemu: self
                .qemu_arguments
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            ..Settings::default()
        }
    }

    /// The flavour that `--kernel` names, if it names one and no file.
    fn flavour(&self) -> Option<Flavour> {
        [Flavour::Cloud, Flavour::Generic, Flavour::Trixie]
            .into_iter()
            .find(|flavour| flavour.name() == self.kernel)
    }
}

fn prepare(workspace: &Workspace, options: &Options, folder: &Path) -> Result<Machine> {
    let flavour = options.flavour();
    let settings = options.settings(flavour.unwrap_or(Flavour::Cloud));
    let images = Images::build(
        workspace,
        Monitors {
            product: settings.monitor,
            under_test: false,
        },
    )?;
    let start: Vec<Vec<u8>> = options
        .exec
        .iter()
        .map(|command| image::start(command, &[]))
        .collect();
    let (kernel, own_initrd) = match flavour {
        Some(_) => {
            let kernel = settings.fetch_kernel(workspace)?;
            let initrd = images.initrd(&kernel, start)?;
            (kernel.image, initrd)
        }
        // A kernel of somebody's own comes without modules that we know.
        None => (PathBuf::from(&options.kernel), images.bare_initrd(start)),
    };
    let initrd = match &options.initrd {
        Some(path) => vec![fs::read(path).with_context(|| path.display().to_string())?],
        None => own_initrd,
    };
    let mut machine = images.machine(&settings, &kernel, &initrd, folder)?;
    machine.qemu.clone_from(&options.qemu);
    Ok(machine)
}

/// Runs a machine on our own standard input and output. QEMU's messages go to a file: it warns of
/// every feature of the processor that it does not emulate.
fn attach(machine: &Machine, timeout: Option<u64>, messages: &Path) -> Result<Ending> {
    let messages = File::create(messages)?;
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut child, mut control, _company) = qemu::spawn(machine, |socket| {
        let mut command = machine.command(socket);
        command.args(["-chardev", "stdio,id=console,mux=on,signal=off"]);
        command.args([
            "-serial",
            "chardev:console",
            "-mon",
            "chardev=console,mode=readline",
        ]);
        command.stdin(Stdio::inherit()).stderr(messages);
        command
    })?;
    let Some(status) = wait(&mut child, deadline)? else {
        control.quit();
        if wait(&mut child, Some(Instant::now() + Duration::from_secs(2)))?.is_none() {
            child.kill()?;
            child.wait()?;
        }
        return Ok(Ending::Killed);
    };
    Ok(Ending::from_reason(
        control.shutdown_reason().as_deref(),
        &status.to_string(),
    ))
}

/// Waits for the end of a process, at most until the deadline.
fn wait(child: &mut Child, deadline: Option<Instant>) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Ok(None);
        }
        sleep(Duration::from_millis(20));
    }
}
