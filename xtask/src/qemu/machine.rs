//! What a QEMU machine is made of, and the command line that says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde::Deserialize;

/// The board that QEMU emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Board {
    /// PCI Express, ICH9.
    Q35,
    /// PCI, PIIX.
    Pc,
}

impl Board {
    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Pc => "pc",
        }
    }
}

/// How the emulator's time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// One host thread per core, wall time.
    Parallel,
    /// All cores take turns in one host thread, in wall time.
    Alternating,
    /// One nanosecond per instruction, all cores in one thread: counts repeat.
    InstructionCount,
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The emulator.
    pub qemu: PathBuf,
    /// The board.
    pub board: Board,
    /// QEMU's name of the processor, with features.
    pub processor: String,
    /// Number of cores.
    pub cpus: u32,
    /// Size of memory as QEMU takes it (`512M`, `8G`).
    pub memory: String,
    /// The image that QEMU starts: the monitor, or a Linux kernel without one.
    pub kernel: PathBuf,
    /// Its one module: the bundle, or an initrd.
    pub initrd: PathBuf,
    /// The command line, of the monitor and of domain 0's kernel at once.
    pub append: String,
    /// How time passes.
    pub timing: Timing,
    /// The file that its memory is, to be looked at when it has ended; ordinary memory if none.
    pub memory_file: Option<PathBuf>,
    /// Further arguments.
    pub extra: Vec<String>,
}

impl Machine {
    /// QEMU's command, with its control socket at this path and no console yet.
    pub fn command(&self, control: &Path) -> Command {
        // QEMU dies with the thread that started it, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.qemu);
        command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        let mut board = format!("{},smm=off", self.board.name());
        if let Some(file) = &self.memory_file {
            let memory = format!(
                "memory-backend-file,id=ram,size={},mem-path={},share=on",
                self.memory,
                file.display()
            );
            command.args(["-object", &memory]);
            board.push_str(",memory-backend=ram");
        }
        command.args(["-machine", &board]);
        command.args(["-cpu", &self.processor, "-m", &self.memory]);
        command.args(["-smp", &self.cpus.to_string()]);
        match self.timing {
            Timing::Parallel => command.args(["-accel", "tcg,thread=multi"]),
            Timing::Alternating => command.args(["-accel", "tcg,thread=single"]),
            Timing::InstructionCount => command.args([
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
            ]),
        };
        command.arg("-kernel").arg(&self.kernel);
        command.arg("-initrd").arg(&self.initrd);
        command.args(["-append", &self.append]);
        // QEMU waits for us there, so that no event is missed.
        let socket = format!(
            "socket,id=control,path={},server=on,wait=on",
            control.display()
        );
        command.args(["-chardev", &socket, "-mon", "chardev=control,mode=control"]);
        command.args(&self.extra);
        command
    }
}
