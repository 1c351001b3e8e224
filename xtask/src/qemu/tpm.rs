//! The emulator of a TPM, one for each machine that has one: `swtpm`, new and empty at each start.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::machine::tpm_socket;

/// A running `swtpm`. It ends with QEMU's connection, at the latest when dropped.
pub struct TpmEmulator(Child);

impl TpmEmulator {
    /// Starts one beside QEMU's control socket, and waits until it listens.
    pub fn start(control: &Path) -> Result<Self> {
        let socket = tpm_socket(control);
        let state = control.with_file_name("tpm-state");
        fs::create_dir_all(&state)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "swtpm", "socket", "--tpm2"]);
        command
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()));
        command
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()));
        command.args(["--flags", "startup-clear", "--terminate"]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start swtpm")?;
        let mut emulator = Self(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            if let Some(status) = emulator.0.try_wait()? {
                bail!("swtpm did not start: {status}");
            }
            if Instant::now() > deadline {
                bail!("swtpm did not open its socket");
            }
            sleep(Duration::from_millis(5));
        }
        Ok(emulator)
    }
}

impl Drop for TpmEmulator {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and that is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
