//! A TPM for tests: swtpm, which keeps its state when the power is cut.

#[path = "../../../evidence/tests/emulator/process.rs"]
mod process;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use super::Exchange;
use super::command::{self, AnswerError};
use super::device::TpmError;

/// A machine with a TPM.
pub struct Emulator {
    process: Child,
    folder: PathBuf,
    socket: UnixStream,
    /// Commands until the power is cut.
    pub left: Option<u32>,
}

impl Emulator {
    /// A new one, by the name of a test.
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("adyton-{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let (process, socket) = start(&folder);
        Self {
            process,
            folder,
            socket,
            left: None,
        }
    }

    /// Cuts the power, and switches it on again: registers begin anew, and what is in the TPM stays.
    pub fn restart(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ran");
        for name in ["socket", "socket.ctrl"] {
            let _absent = fs::remove_file(self.folder.join(name));
        }
        (self.process, self.socket) = start(&self.folder);
        self.left = None;
    }

    /// Extends a register.
    pub fn extend(&mut self, register: u32, digest: &[u8; 32]) {
        self.run(&command::extend(register, digest), command::done)
            .expect("any register but those of other localities");
    }

    /// Gives a command and takes the answer.
    pub fn exchange(&mut self, message: &[u8]) -> Vec<u8> {
        self.socket.write_all(message).expect("it listens");
        let mut answer = vec![0; 10];
        self.socket.read_exact(&mut answer).expect("a header");
        let size = command::announced_size(&answer).expect("a size");
        answer.resize(size, 0);
        self.socket.read_exact(&mut answer[10..]).expect("a body");
        answer
    }

    /// Runs one of tpm2-tools in the folder of this TPM; whether it succeeded.
    pub fn tool(&mut self, line: &str) -> bool {
        // The emulator talks to one at a time.
        let socket = UnixStream::pair().expect("a pair").0;
        drop(std::mem::replace(&mut self.socket, socket));
        let succeeded = process::attempt(&self.folder, line);
        self.socket = connect(&self.folder);
        succeeded
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn start(folder: &Path) -> (Child, UnixStream) {
    let process = process::start(folder);
    (process, connect(folder))
}

fn connect(folder: &Path) -> UnixStream {
    for _ in 0..500 {
        if let Ok(socket) = UnixStream::connect(folder.join("socket")) {
            return socket;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("swtpm does not listen");
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.process.kill();
        let _status = self.process.wait();
        let _kept = fs::remove_dir_all(&self.folder);
    }
}

impl Exchange for Emulator {
    fn run<T>(
        &mut self,
        message: &[u8],
        read: impl Fn(&[u8]) -> Result<T, AnswerError>,
    ) -> Result<T, TpmError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(TpmError::Silent)?;
        }
        loop {
            match read(&self.exchange(message)) {
                Err(error) if error.is_passing() => {}
                outcome => return Ok(outcome?),
            }
        }
    }
}
