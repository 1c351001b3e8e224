//! swtpm as a process, and tpm2-tools that talk to it. Tests of other crates use it too, by its path.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts one with its state in this folder, which is there; it will listen at `socket`, and for control at `socket.ctrl`.
pub fn start(folder: &Path) -> Child {
    let at = |name: &str| folder.join(name).display().to_string();
    Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "startup-clear,not-need-init"])
        .args(["--tpmstate", &format!("dir={}", folder.display())])
        .args(["--server", &format!("type=unixio,path={}", at("socket"))])
        .args(["--ctrl", &format!("type=unixio,path={}", at("socket.ctrl"))])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm: `cargo xtask setup` installs it")
}

/// Runs one of tpm2-tools in that folder; whether it succeeded.
pub fn attempt(folder: &Path, line: &str) -> bool {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().expect("a command"))
        .args(words)
        .current_dir(folder)
        .env("TPM2TOOLS_TCTI", "swtpm:path=socket")
        .output()
        .expect("tpm2-tools: `cargo xtask setup` installs them");
    if !output.status.success() {
        println!("{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}
