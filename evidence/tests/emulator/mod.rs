//! A TPM that is not ours, swtpm, and tpm2-tools that talk to it. Tests of other crates use it too, by its path.

mod process;

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

pub use process::attempt;

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
        let process = process::start(&folder);
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
