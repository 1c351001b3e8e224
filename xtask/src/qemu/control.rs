//! QEMU's control socket (QMP: one JSON value per line).
//!
//! A thread reads it to the end and keeps the reason of the shutdown; answers to our own commands
//! are passed on. The socket's file lies in a private temporary folder, since the path of a Unix
//! socket may have 107 bytes and a build directory can be deep.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};
use std::{env, fs, io, process};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A private folder for one socket, removed when dropped.
pub struct SocketFolder(PathBuf);

impl SocketFolder {
    /// Makes a folder that no other session of this machine uses.
    pub fn create() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("adyton-{}-{number}", process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        self.0.join("control")
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        // A folder left in the temporary directory does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The connection to one QEMU.
pub struct ControlSocket {
    stream: UnixStream,
    answers: Receiver<Value>,
    reader: JoinHandle<Option<String>>,
}

impl ControlSocket {
    /// Connects, waiting until QEMU has made its socket, as long as QEMU lives.
    pub fn connect(path: &Path, qemu: &mut Child) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("QEMU did not open its control socket");
                }
                Err(_) => match qemu.try_wait()? {
                    Some(status) => bail!("QEMU did not start: {status}"),
                    None => sleep(Duration::from_millis(5)),
                },
            }
        };
        let source = BufReader::new(stream.try_clone()?);
        let (sender, answers) = channel();
        let reader = spawn(move || read(source, &sender));
        let mut socket = Self {
            stream,
            answers,
            reader,
        };
        socket.send(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(socket)
    }

    /// What every core's registers hold, for a machine that hangs.
    pub fn registers(&mut self) -> Result<String> {
        while self.answers.try_recv().is_ok() {}
        self.send(&json!({
            "execute": "human-monitor-command",
            "arguments": { "command-line": "info registers -a" },
        }))?;
        let answer = self
            .answers
            .recv_timeout(Duration::from_secs(5))
            .context("QEMU does not answer")?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Sends the machine an NMI, as a button on its front would.
    pub fn inject_nmi(&mut self) -> Result<()> {
        Ok(self.send(&json!({ "execute": "inject-nmi" }))?)
    }

    /// Asks QEMU to end. It gives a terminal back as it was, which it cannot when it is killed.
    pub fn quit(&mut self) {
        // One that does not listen is killed by our caller.
        let _ = self.send(&json!({ "execute": "quit" }));
    }

    /// Waits for the end of QEMU and returns the reason that it gave: `guest-shutdown`,
    /// `guest-reset` and so on; none when it was killed.
    pub fn shutdown_reason(self) -> Option<String> {
        self.reader.join().ok().flatten()
    }

    fn send(&mut self, command: &Value) -> io::Result<()> {
        writeln!(self.stream, "{command}")
    }
}

/// Reads to the end of the connection.
fn read(source: impl BufRead, answers: &Sender<Value>) -> Option<String> {
    let mut reason = None;
    for line in source.lines() {
        let Ok(line) = line else { break };
        let Ok(mut message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if message["event"] == "SHUTDOWN" {
            reason = message["data"]["reason"].as_str().map(str::to_owned);
        } else if let Some(answer) = message.get_mut("return") {
            // Nobody may be waiting any more: the session ends by its own rules.
            let _ = answers.send(answer.take());
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    #[test]
    fn keeps_the_reason_and_passes_answers_on() {
        let text = "{\"QMP\": {}}\n{\"return\": \"RIP=0\"}\nnoise\n\
            {\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\n";
        let (sender, answers) = channel();
        assert_eq!(
            super::read(text.as_bytes(), &sender).as_deref(),
            Some("guest-reset")
        );
        assert_eq!(answers.try_iter().collect::<Vec<_>>(), ["RIP=0"]);
    }
}
