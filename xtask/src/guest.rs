//! What boots and how: the parts of a machine's definition that tests, the demonstration, `run` and
//! `bench` have in common.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;

use crate::build::{Monitors, Programs};
use crate::image::{self, APPLICATION, Chain, Maintainer, Release};
use crate::qemu::{Board, FIRMWARE_VARIABLES, Load, Machine, Timing, Tpm, manufacture};
use crate::setup::{BootLoader, Emulator, Flavour, Kernel, Software, emulator, kernel};
use crate::workspace::Workspace;

/// What starts the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// QEMU itself: fast, and nobody measures.
    Pvh,
    /// UEFI firmware, from a disk.
    Uefi,
}

/// The settings of one boot; every field has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Number of cores.
    pub cpus: u32,
    /// Size of memory as QEMU takes it.
    pub memory: String,
    /// What it runs in.
    pub emulator: Emulator,
    /// The board.
    pub machine: Board,
    /// What starts the monitor.
    pub firmware: Firmware,
    /// The machine's TPM.
    pub tpm: Option<Tpm>,
    /// Whether its endorsement key has a certificate.
    pub tpm_certificate: bool,
    /// The number of the monitor's release.
    pub release: u64,
    /// Whether firmware starts another application before the monitor.
    pub evil_first: bool,
    /// The boot loader that firmware starts, and that starts the monitor.
    pub loader: Option<Chain>,
    /// The processor as QEMU takes it.
    pub processor: String,
    /// Domain 0's kernel.
    pub kernel: Flavour,
    /// Size and place of the pool: `SIZE`, `SIZE@ADDRESS`, `SIZE@above4g`, `SIZE@below4g`;
    /// empty for the monitor's choice.
    pub pool: String,
    /// More words for the command line.
    pub append: String,
    /// Whether the monitor is below; without it the same kernel and initrd boot bare.
    pub monitor: bool,
    /// Whether that is the monitor under test, which audits itself and misbehaves when it is asked to.
    pub selfcheck: bool,
    /// Whether time is counted in instructions.
    pub icount: bool,
    /// Whether each core has a host thread of its own; otherwise they take turns in one.
    pub parallel: bool,
    /// Whether the machine has an IOMMU.
    pub iommu: bool,
    /// Whether domain 0 has its kernel's file, to start it in its own place.
    pub second_kernel: bool,
    /// Programs of the host's distribution that domain 0 has too, from `/usr/bin`.
    pub host_programs: Vec<String>,
    /// What others wrote that domain 0 has too.
    pub software: Option<Software>,
    /// More arguments for QEMU.
    pub qemu: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cpus: 1,
            memory: "1G".to_owned(),
            emulator: Emulator::System,
            machine: Board::Q35,
            firmware: Firmware::Pvh,
            tpm: None,
            tpm_certificate: false,
            release: 1,
            evil_first: false,
            loader: None,
            processor: "EPYC,+svm".to_owned(),
            kernel: Flavour::Cloud,
            pool: String::new(),
            append: String::new(),
            monitor: true,
            selfcheck: false,
            icount: false,
            parallel: true,
            iommu: false,
            second_kernel: false,
            host_programs: Vec::new(),
            software: None,
            qemu: Vec::new(),
        }
    }
}

/// What is built once and booted often.
pub struct Images {
    programs: Programs,
    system: Vec<u8>,
    maintainer: Maintainer,
    loader: BootLoader,
}

impl Images {
    /// Builds the programs, and of the monitors those that are wanted, and packs them.
    pub fn build(workspace: &Workspace, monitors: Monitors) -> Result<Self> {
        let programs = crate::build::everything(workspace, monitors)?;
        let system = image::system(workspace, &programs)?;
        let maintainer = Maintainer::of_development(workspace)?;
        Ok(Self {
            programs,
            system,
            maintainer,
            loader: BootLoader::place(workspace),
        })
    }

    /// The same, signed by another maintainer than that of development.
    pub fn by(self, maintainer: Maintainer) -> Self {
        Self { maintainer, ..self }
    }

    /// The initrd of a boot, as segments: the system, the kernel's modules, and `start`.
    pub fn initrd(&self, kernel: &Kernel, start: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let mut segments = vec![self.system.clone(), image::kernel_modules(kernel)?];
        segments.extend(start);
        Ok(segments)
    }

    /// The same for a kernel whose modules are not known.
    pub fn bare_initrd(&self, start: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut segments = vec![self.system.clone()];
        segments.extend(start);
        segments
    }

    /// Writes what QEMU loads into `folder` and returns the machine that loads it.
    pub fn machine(
        &self,
        settings: &Settings,
        kernel: &Path,
        initrd: &[Vec<u8>],
        folder: &Path,
    ) -> Result<Machine> {
        fs::create_dir_all(folder)?;
        let variables = match settings.firmware {
            Firmware::Pvh => None,
            Firmware::Uefi => {
                let variables = folder.join("variables");
                fs::copy(FIRMWARE_VARIABLES, &variables).context(FIRMWARE_VARIABLES)?;
                Some(variables)
            }
        };
        let state = settings.tpm_certificate.then(|| folder.join("tpm"));
        if let Some(state) = &state {
            let _not_there = fs::remove_dir_all(state);
            manufacture(&folder.join("maker"), state)?;
        }
        Ok(Machine {
            qemu: PathBuf::from("qemu-system-x86_64"),
            board: settings.machine,
            processor: settings.processor(),
            cpus: settings.cpus,
            memory: settings.memory.clone(),
            load: self.load(settings, kernel, initrd, folder)?,
            variables,
            tpm: settings.tpm,
            tpm_state: state,
            timing: settings.timing(),
            memory_file: None,
            extra: settings.devices(),
        })
    }

    fn load(
        &self,
        settings: &Settings,
        kernel: &Path,
        initrd: &[Vec<u8>],
        folder: &Path,
    ) -> Result<Load> {
        let segments: Vec<&[u8]> = initrd.iter().map(Vec::as_slice).collect();
        let direct = |kernel: &Path, initrd: PathBuf| Load::Direct {
            kernel: kernel.to_path_buf(),
            initrd,
            append: settings.command_line(),
        };
        if !settings.monitor {
            let module = folder.join("initrd");
            fs::write(&module, segments.concat())?;
            return Ok(direct(kernel, module));
        }
        let contents = fs::read(kernel).with_context(|| kernel.display().to_string())?;
        if settings.firmware == Firmware::Uefi {
            let disk = folder.join("disk");
            let initrd = segments.concat();
            let line = settings.command_line();
            let release = self.release_of(settings)?;
            let mut files = files(release, contents, initrd, &line);
            if let Some(chain) = settings.loader {
                chain.put_first(&self.loader, &mut files)?;
            }
            image::write_disk(&disk, &files)?;
            let mut disks = vec![disk];
            if settings.evil_first {
                disks.insert(0, self.write_evil_disk(folder)?);
            }
            return Ok(Load::Disks(disks));
        }
        let module = folder.join("bundle");
        fs::write(&module, image::bundle(&contents, &segments))?;
        Ok(direct(self.monitor_of(settings)?, module))
    }

    /// A program of domain 0's, which runs on the host as well.
    pub fn program(&self, name: &str) -> Result<&Path> {
        let mut programs = self.programs.programs.iter();
        let found = programs.find(|path| path.file_name().is_some_and(|file| file == name));
        Ok(found.with_context(|| format!("there is no program {name}"))?)
    }

    /// The folder with the payloads' files.
    pub fn payloads(&self) -> Result<&Path> {
        let first = self
            .programs
            .payloads
            .first()
            .and_then(|path| path.parent());
        first.context("there are no payloads")
    }

    /// The monitor's ELF file.
    pub fn monitor(&self) -> Result<&Path> {
        let monitor = self.programs.monitor.as_deref();
        monitor.context("there is no monitor to boot")
    }

    /// The monitor as firmware starts it: the first release.
    pub fn application(&self) -> Result<Vec<u8>> {
        self.application_of(1)
    }

    /// The monitor as firmware starts it.
    pub fn application_of(&self, release: u64) -> Result<Vec<u8>> {
        Ok(self.release(release)?.application)
    }

    fn release(&self, number: u64) -> Result<Release> {
        self.maintainer.release(&fs::read(self.monitor()?)?, number)
    }

    /// The ELF file of the monitor that a machine with these settings boots.
    fn monitor_of(&self, settings: &Settings) -> Result<&Path> {
        if !settings.selfcheck {
            return self.monitor();
        }
        let monitor = self.programs.monitor_under_test.as_deref();
        monitor.context("there is no monitor under test")
    }

    /// The same, as firmware starts it.
    fn release_of(&self, settings: &Settings) -> Result<Release> {
        let elf = fs::read(self.monitor_of(settings)?)?;
        self.maintainer.release(&elf, settings.release)
    }

    /// Writes a disk with an application that is not the monitor: one byte is different, and it finds
    /// nothing to boot, so that firmware goes on with the next disk.
    fn write_evil_disk(&self, folder: &Path) -> Result<PathBuf> {
        const UNUSED_BYTE: usize = 0x20;
        let mut application = self.application()?;
        application[UNUSED_BYTE] = 1;
        let disk = folder.join("evil-disk");
        image::write_disk(&disk, &[(APPLICATION, application)])?;
        Ok(disk)
    }

    /// What a measured boot with these settings measures, as lines of a name and a SHA-256 in
    /// hexadecimal; nothing for other boots. The initrd is missing, for this becomes part of it.
    pub fn reference(&self, settings: &Settings, kernel: &Path) -> Result<String> {
        if settings.firmware != Firmware::Uefi || !settings.monitor {
            return Ok(String::new());
        }
        let line = settings.command_line();
        let application = self.release_of(settings)?.application;
        let digests = digests(&application, &fs::read(kernel)?, &line)?;
        let line = |(name, digest): &(&str, String)| format!("{name} {digest}\n");
        Ok(digests.iter().map(line).collect())
    }

    /// What the boot loader of these settings should do, as anchors; nothing where there is none.
    pub fn loader_reference(&self, settings: &Settings) -> Result<String> {
        match settings.loader {
            Some(chain) => {
                let application = self.release_of(settings)?.application;
                chain.reference(&self.loader, &application)
            }
            None => Ok(String::new()),
        }
    }

    /// Writes a disk from which firmware starts a release of the monitor, approved by its maintainer, and that starts this kernel.
    pub fn write_release(
        &self,
        disk: &Path,
        release: u64,
        kernel: Vec<u8>,
        initrd: Vec<u8>,
        command_line: &str,
    ) -> Result<()> {
        let release = self.release(release)?;
        image::write_disk(disk, &files(release, kernel, initrd, command_line))
    }
}

/// The files of a disk from which firmware starts a release.
fn files(
    release: Release,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    command_line: &str,
) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (APPLICATION, release.application),
        (
            "adyton/configuration",
            configuration(command_line).into_bytes(),
        ),
        ("adyton/approvals", release.approvals.into_bytes()),
        ("adyton/kernel", kernel),
        ("adyton/initrd", initrd),
    ]
}

/// The names and digests of what is measured when this application starts this kernel: by the firmware the monitor, by the monitor what it
/// loads, in the order of the events. The initrd, which comes behind the kernel, is missing.
pub fn digests(
    application: &[u8],
    kernel: &[u8],
    command_line: &str,
) -> Result<[(&'static str, String); 4]> {
    let configuration = configuration(command_line);
    Ok([
        ("monitor", image::authenticode_digest(application)?),
        (
            "adyton:configuration",
            image::digest(configuration.as_bytes()),
        ),
        ("adyton:kernel", image::digest(kernel)),
        (
            "adyton:command-line",
            image::digest(command_line.as_bytes()),
        ),
    ])
}

/// The monitor's configuration file.
fn configuration(command_line: &str) -> String {
    format!("kernel = /adyton/kernel\ninitrd = /adyton/initrd\ncommand-line = {command_line}\n")
}

impl Settings {
    /// The kernel of these settings, fetched if need be.
    pub fn fetch_kernel(&self, workspace: &Workspace) -> Result<Kernel> {
        kernel(workspace, self.kernel)
    }

    /// Fetches the boot loader of these settings, if need be.
    pub fn fetch_loader(&self, workspace: &Workspace) -> Result<()> {
        match self.loader {
            Some(_) => BootLoader::place(workspace).fetch(),
            None => Ok(()),
        }
    }

    /// The emulator of these settings, fetched if need be.
    pub fn fetch_emulator(&self, workspace: &Workspace) -> Result<PathBuf> {
        emulator(workspace, self.emulator)
    }

    /// QEMU's arguments for devices. An IOMMU translates only what comes after it.
    fn devices(&self) -> Vec<String> {
        // Where "pass through" is on, QEMU 10 translates nothing.
        let iommu = ["-device", "amd-iommu,pt=off"].map(str::to_owned);
        let mut all = if self.iommu {
            iommu.to_vec()
        } else {
            Vec::new()
        };
        all.extend(self.qemu.iter().cloned());
        all
    }

    fn timing(&self) -> Timing {
        match (self.icount, self.parallel) {
            (true, _) => Timing::InstructionCount,
            (false, true) => Timing::Parallel,
            (false, false) => Timing::Alternating,
        }
    }

    /// The processor as QEMU takes it.
    ///
    /// Linux 6.12 branches right after the `cmpxchg16b` of its allocator, and QEMU 7.2 leaves wrong
    /// flags there, which an interrupt at that branch saves and restores: of ten boots without the
    /// monitor two crashed, of twenty without the instruction none.
    fn processor(&self) -> String {
        match self.kernel {
            Flavour::Trixie => format!("{},-cx16", self.processor),
            _ => self.processor.clone(),
        }
    }

    /// The command line. Linux ignores the monitor's words, which have a dot.
    fn command_line(&self) -> String {
        // A kernel that panics resets, and QEMU then ends instead of standing still. On a busy host
        // ticks come late, from which Linux would conclude that its timer is not connected.
        let mut words: Vec<String> = ["console=ttyS0", "panic=-1", "no_timer_check"]
            .map(str::to_owned)
            .to_vec();
        if !self.pool.is_empty() {
            words.push(format!("adyton.pool={}", self.pool));
        }
        if !self.iommu {
            words.push("adyton.without-iommu=allow".to_owned());
        }
        if self.kernel == Flavour::Trixie {
            // From 6.3 on the pool would otherwise be taken for ordinary memory by kmem.
            words.push("dax_hmem.region_idle=1".to_owned());
        }
        words.extend(self.append.split_whitespace().map(str::to_owned));
        words.join(" ")
    }
}
