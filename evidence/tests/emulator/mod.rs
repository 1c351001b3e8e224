//! A TPM that is not ours, swtpm, and tpm2-tools that talk to it. Tests of other crates use it too, by its path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// An emulated TPM; it ends with the test.
pub struct Tpm {
    process: Child,
    /// Its state, and the files that tools leave.
    pub folder: PathBuf,
}

impl Drop for Tpm {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

impl Tpm {
    /// With its state in this folder, which is there.
    pub fn start(folder: PathBuf) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "startup-clear,not-need-init"])
            .args(["--tpmstate", &format!("dir={}", folder.display())])
            .args(["--server", &format!("type=unixio,path={}", at("socket"))])
            .args(["--ctrl", &format!("type=unixio,path={}", at("socket.ctrl"))])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm: `cargo xtask setup` installs it");
        for _ in 0..250 {
            if folder.join("socket").exists() && folder.join("socket.ctrl").exists() {
                break;
            }
            sleep(Duration::from_millis(20));
        }
        Self { process, folder }
    }

    /// Makes an attestation key: `ak.ctx`, and its public part in `ak.tpm2b`.
    pub fn make_attestation_key(&self) {
        self.tool(
            "tpm2_createprimary -Q -C e -g sha256 -G ecc256:ecdsa-sha256:null -c ak.ctx \
             -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign",
        );
        self.tool("tpm2_readpublic -Q -c ak.ctx -f tss -o ak.tpm2b");
    }

    /// The attestation key's TPMT_PUBLIC.
    pub fn attestation_key(&self) -> Vec<u8> {
        // A TPM2B has its length in front.
        self.read("ak.tpm2b")[2..].to_vec()
    }

    /// Has the attestation key quote these registers: `quote` and `signature`.
    pub fn quote(&self, registers: &[u32], qualifying: &str) {
        let registers: Vec<_> = registers.iter().map(u32::to_string).collect();
        let selected = registers.join(",");
        self.tool(&format!(
            "tpm2_quote -Q -c ak.ctx -l sha256:{selected} -q {qualifying} -m quote -s signature -f tss"
        ));
    }

    /// Runs one of tpm2-tools, which must succeed.
    pub fn tool(&self, line: &str) {
        // No resource manager does the second in between.
        for line in [line, "tpm2_flushcontext -Q -t"] {
            assert!(attempt(&self.folder, line), "{line}");
        }
    }

    /// A file of its folder.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).expect(name)
    }
}

/// Runs one of tpm2-tools in a folder; whether it succeeded.
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
