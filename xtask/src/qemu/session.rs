//! A running QEMU whose console is captured.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::control::{ControlSocket, SocketFolder};
use super::machine::Machine;
use super::tpm::TpmEmulator;

/// Something that happened on the console.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A line was printed.
    Line(String),
    /// The console was closed: QEMU has ended.
    Closed,
    /// The deadline passed.
    Deadline,
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest powered off.
    PowerOff,
    /// The guest reset itself (QEMU was told not to start again).
    Reset,
    /// We ended it.
    Killed,
    /// QEMU failed or ended for another reason, with what it said.
    Failed(String),
}

/// QEMU with its console captured.
pub struct Session {
    child: Child,
    control: ControlSocket,
    console: Receiver<String>,
    errors: PathBuf,
    killed: bool,
    _company: Company,
}

/// What lives as long as QEMU does.
pub struct Company {
    _tpm: Option<TpmEmulator>,
    _folder: SocketFolder,
}

/// Starts a machine by a command with a control socket that it opens at the path it is given.
pub fn spawn(
    machine: &Machine,
    command: impl FnOnce(&Path) -> Command,
) -> Result<(Child, ControlSocket, Company)> {
    let folder = SocketFolder::create()?;
    let tpm = machine
        .tpm
        .map(|_| TpmEmulator::start(&folder.socket(), machine.tpm_state.as_deref()))
        .transpose()?;
    let mut child = command(&folder.socket())
        .spawn()
        .context("cannot start QEMU")?;
    match ControlSocket::connect(&folder.socket(), &mut child) {
        Ok(control) => {
            let company = Company {
                _tpm: tpm,
                _folder: folder,
            };
            Ok((child, control, company))
        }
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

impl Session {
    /// Starts a machine; its console goes to `log` as well, QEMU's own messages beside it.
    pub fn start(machine: &Machine, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let errors = log.with_extension("qemu.log");
        let messages = File::create(&errors)?;
        let (mut child, control, company) = spawn(machine, |socket| {
            let mut command = machine.command(socket);
            command.args([
                "-chardev",
                "stdio,id=console,signal=off",
                "-serial",
                "chardev:console",
            ]);
            // What a core held when it was reset tells a triple fault from a wish.
            command
                .args(["-d", "cpu_reset", "-D"])
                .arg(log.with_extension("reset.log"));
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(messages);
            command
        })
        .with_context(|| std::fs::read_to_string(&errors).unwrap_or_default())?;
        let output = child.stdout.take().context("QEMU has no output")?;
        let (sender, console) = channel();
        thread::spawn(move || copy_lines(output, file, &sender));
        Ok(Self {
            child,
            control,
            console,
            errors,
            killed: false,
            _company: company,
        })
    }

    /// Waits for the next event.
    pub fn next(&self, deadline: Instant) -> Event {
        let patience = deadline.saturating_duration_since(Instant::now());
        match self.console.recv_timeout(patience) {
            Ok(line) => Event::Line(line),
            Err(RecvTimeoutError::Timeout) => Event::Deadline,
            Err(RecvTimeoutError::Disconnected) => Event::Closed,
        }
    }

    /// What every core was doing, or why that is not known.
    pub fn registers(&mut self) -> String {
        self.control
            .registers()
            .unwrap_or_else(|error| format!("no registers: {error:#}\n"))
    }

    /// Sends the machine an NMI.
    pub fn inject_nmi(&mut self) -> Result<()> {
        self.control.inject_nmi()
    }

    /// Ends QEMU now. It can hold out against gentler signals while it runs garbage.
    pub fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.killed = true;
            self.child.kill()?;
        }
        Ok(())
    }

    /// Waits some seconds for QEMU's end, which its closed console announced, and says how it was.
    pub fn finish(mut self) -> Result<Ending> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.kill()?;
        let status = self.child.wait()?;
        if self.killed {
            return Ok(Ending::Killed);
        }
        let reason = self.control.shutdown_reason();
        let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
        Ok(Ending::from_reason(
            reason.as_deref(),
            &format!("{status}: {}", said.trim()),
        ))
    }
}

impl Ending {
    /// Reads QEMU's shutdown reason (`qapi/run-state.json`, `ShutdownCause`).
    pub fn from_reason(reason: Option<&str>, otherwise: &str) -> Self {
        match reason {
            Some("guest-shutdown") => Self::PowerOff,
            Some("guest-reset") => Self::Reset,
            Some(other) => Self::Failed(other.to_owned()),
            None => Self::Failed(otherwise.to_owned()),
        }
    }
}

/// Copies a console to its log, and to the listener line by line.
///
/// Ends with the console; a listener who is gone does not stop the log.
fn copy_lines(source: impl Read, mut log: File, listener: &Sender<String>) {
    let mut source = BufReader::new(source);
    let mut bytes = Vec::new();
    while source
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|count| count > 0)
    {
        // A full disk loses the log and not the test.
        let _ = log.write_all(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = listener.send(text.trim_end_matches(['\r', '\n']).to_owned());
        bytes.clear();
    }
}
