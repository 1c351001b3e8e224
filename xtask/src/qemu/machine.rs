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

/// A TPM 2.0, by its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tpm {
    /// Command response buffer.
    Crb,
    /// The older register interface.
    Tis,
}

/// What a machine starts.
#[derive(Clone, Debug)]
pub enum Load {
    /// Files that QEMU passes in.
    Direct {
        /// The image: the monitor, or a Linux kernel without one.
        kernel: PathBuf,
        /// Its one module: the bundle, or an initrd.
        initrd: PathBuf,
        /// The command line, of the monitor and of domain 0's kernel at once.
        append: String,
    },
    /// Disks, whose applications firmware starts one after the other until one stays.
    Disks(Vec<PathBuf>),
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
    /// What it starts.
    pub load: Load,
    /// The variables of its UEFI firmware; without them it has the PC's old one.
    pub variables: Option<PathBuf>,
    /// Its TPM.
    pub tpm: Option<Tpm>,
    /// Where the TPM's state is kept from one start to the next; new at each if nowhere.
    pub tpm_state: Option<PathBuf>,
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
        self.add_load(&mut command);
        self.add_firmware(&mut command);
        if let Some(tpm) = self.tpm {
            self.add_tpm(&mut command, tpm, control);
        }
        // QEMU waits for us there, so that no event is missed.
        let socket = format!(
            "socket,id=control,path={},server=on,wait=on",
            control.display()
        );
        command.args(["-chardev", &socket, "-mon", "chardev=control,mode=control"]);
        command.args(&self.extra);
        command
    }

    fn add_load(&self, command: &mut Command) {
        match &self.load {
            Load::Direct {
                kernel,
                initrd,
                append,
            } => {
                command.arg("-kernel").arg(kernel);
                command.arg("-initrd").arg(initrd);
                command.args(["-append", append]);
            }
            Load::Disks(disks) => {
                for (index, disk) in disks.iter().enumerate() {
                    let drive = format!(
                        "if=none,id=disk{index},format=raw,cache=unsafe,file={}",
                        disk.display()
                    );
                    let device = format!("virtio-blk-pci,drive=disk{index},bootindex={index}");
                    command.args(["-drive", &drive, "-device", &device]);
                }
            }
        }
    }

    fn add_firmware(&self, command: &mut Command) {
        let Some(variables) = &self.variables else {
            return;
        };
        let code = format!("if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE_CODE}");
        let variables = format!("if=pflash,unit=1,format=raw,file={}", variables.display());
        command.args(["-drive", &code, "-drive", &variables]);
    }

    fn add_tpm(&self, command: &mut Command, tpm: Tpm, control: &Path) {
        let socket = format!("socket,id=tpm,path={}", tpm_socket(control).display());
        command.args(["-chardev", &socket]);
        command.args(["-tpmdev", "emulator,id=tpm,chardev=tpm"]);
        let device = match tpm {
            Tpm::Crb => "tpm-crb,tpmdev=tpm",
            Tpm::Tis => "tpm-tis,tpmdev=tpm",
        };
        command.args(["-device", device]);
    }

    /// The files that were packed for this machine alone, large and quickly packed again.
    pub fn packed(&self) -> &[PathBuf] {
        match &self.load {
            Load::Direct { initrd, .. } => std::slice::from_ref(initrd),
            Load::Disks(disks) => disks,
        }
    }
}

/// The distribution's UEFI firmware, and the variables that a new machine has.
const FIRMWARE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// See [`FIRMWARE_CODE`].
pub const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Where the TPM's emulator listens, beside QEMU's control socket.
pub fn tpm_socket(control: &Path) -> PathBuf {
    control.with_file_name("tpm")
}
