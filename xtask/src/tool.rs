//! Running a program of the host's that must succeed.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

/// Runs it to its end and returns what it printed.
///
/// # Errors
/// If it cannot be started, or fails: with what it said.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    feed(command, &[])
}

/// The same, with this to read.
pub fn feed(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| name.clone())?;
    let mut pipe = child.stdin.take().context("no standard input")?;
    let output = thread::scope(|scope| {
        // A program that does not read to the end says by its status whether that is an error.
        scope.spawn(move || pipe.write_all(input));
        child.wait_with_output()
    })?;
    ensure!(
        output.status.success(),
        "{name} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_comes_back() {
        assert_eq!(feed(&mut Command::new("cat"), b"text").unwrap(), b"text");
        let mut failing = Command::new("sh");
        let error = run(failing.args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with(": why"), "{error}");
        assert!(run(&mut Command::new("/does/not/exist")).is_err());
    }
}
