//! The emulator of a TPM, one for each machine that has one: `swtpm`, new and empty at each start unless its state is kept.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::control::SocketFolder;
use super::machine::tpm_socket;
use crate::tool;

/// A running `swtpm`. It ends with QEMU's connection, at the latest when dropped.
pub struct TpmEmulator {
    process: Child,
    folder: Option<SocketFolder>,
}

impl TpmEmulator {
    /// Starts one beside QEMU's control socket, and waits until it listens. Its state lies in `kept`, or is new.
    pub fn start(control: &Path, kept: Option<&Path>) -> Result<Self> {
        let socket = tpm_socket(control);
        let own = control.with_file_name("tpm-state");
        let control = format!("type=unixio,path={}", socket.display());
        let arguments = [
            "--ctrl",
            &control,
            "--flags",
            "startup-clear",
            "--terminate",
        ];
        Self::spawn(&arguments, kept.unwrap_or(&own), &socket, None)
    }

    /// Starts one for tools on the host: the socket `socket` in [`folder`](Self::folder).
    pub fn alone(state: &Path) -> Result<Self> {
        let folder = SocketFolder::create()?;
        let socket = folder.socket().with_file_name("socket");
        let [server, control] =
            ["", ".ctrl"].map(|end| format!("type=unixio,path={}{end}", socket.display()));
        let arguments = [
            "--server",
            &server,
            "--ctrl",
            &control,
            "--flags",
            "startup-clear,not-need-init",
        ];
        Self::spawn(&arguments, state, &socket, Some(folder))
    }

    /// Where files lie that tools leave of one that is alone.
    pub fn folder(&self) -> &Path {
        let folder = self.folder.as_ref();
        folder.map_or(Path::new("/"), SocketFolder::path)
    }

    /// One of tpm2-tools with its arguments, on one that is alone; it works in [`folder`](Self::folder).
    pub fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).current_dir(self.folder());
        command.env("TPM2TOOLS_TCTI", "swtpm:path=socket");
        command
    }

    fn spawn(
        arguments: &[&str],
        state: &Path,
        socket: &Path,
        folder: Option<SocketFolder>,
    ) -> Result<Self> {
        fs::create_dir_all(state)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "swtpm", "socket", "--tpm2"]);
        command
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()));
        let process = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It tells of every connection that ends.
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start swtpm")?;
        let mut emulator = Self { process, folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            if let Some(status) = emulator.process.try_wait()? {
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
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes a TPM, with a certificate of its endorsement key: its state, and what its maker keeps, the authority's keys and certificates.
pub fn manufacture(maker: &Path, state: &Path) -> Result<()> {
    fs::create_dir_all(maker)?;
    fs::create_dir_all(state)?;
    let place = maker.display();
    for (name, text) in [
        (
            "setup.conf",
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\n\
                 create_certs_tool_config = {place}/ca.conf\n\
                 create_certs_tool_options = {place}/ca.options\n"
            ),
        ),
        (
            "ca.conf",
            format!(
                "statedir = {place}\nsigningkey = {place}/key.pem\n\
                 issuercert = {place}/issuer.pem\ncertserial = {place}/serial\n"
            ),
        ),
        (
            "ca.options",
            "--platform-manufacturer Adyton\n--platform-version 1\n--platform-model test\n"
                .to_owned(),
        ),
    ] {
        fs::write(maker.join(name), text)?;
    }
    tool::run(
        Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--tpmstate"])
            .arg(state)
            .arg("--config")
            .arg(maker.join("setup.conf")),
    )?;
    Ok(())
}
