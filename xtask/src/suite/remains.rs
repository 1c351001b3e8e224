//! What the memory of a machine holds when it has ended.
//!
//! The machine's memory is a file that QEMU maps ([`crate::qemu::Machine::memory_file`]), so it can be read when QEMU
//! is gone: every byte of it, the firmware's, the monitor's and all domains'.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use memchr::memmem;

use super::definition::Memory;
use super::report::Outcome;

/// Bytes that are looked at in one go.
const WINDOW: usize = 16 << 20;

/// The shortest pattern that does not turn up by chance.
const SHORTEST: usize = 8;

/// Something to search for.
struct Pattern {
    bytes: Vec<u8>,
    wanted: bool,
    /// Where it was found first, and how often.
    first: Option<u64>,
    count: u64,
}

/// Searches the memory in `file` for what is expected, and removes the file.
pub fn judge(file: &Path, expected: &Memory) -> Result<Outcome> {
    let present = expected.present.iter().map(|text| (text, true));
    let absent = expected.absent.iter().map(|text| (text, false));
    let mut patterns = present
        .chain(absent)
        .map(|(text, wanted)| Pattern::parse(text, wanted))
        .collect::<Result<Vec<_>>>()?;
    search(take(file)?, &mut patterns)?;
    let wrong: Vec<String> = patterns.iter().filter_map(Pattern::complaint).collect();
    Ok(if wrong.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(wrong.join("; "))
    })
}

/// Which of these patterns are anywhere in the memory in `file`. Removes the file.
pub fn find(file: &Path, patterns: &[Vec<u8>]) -> Result<Vec<bool>> {
    let pattern = |bytes: &Vec<u8>| Pattern {
        bytes: bytes.clone(),
        wanted: false,
        first: None,
        count: 0,
    };
    let mut patterns: Vec<_> = patterns.iter().map(pattern).collect();
    search(take(file)?, &mut patterns)?;
    Ok(patterns.iter().map(|pattern| pattern.count > 0).collect())
}

fn take(file: &Path) -> Result<File> {
    let memory = File::open(file).with_context(|| file.display().to_string())?;
    // It is as large as the machine, and gone when it is closed.
    fs::remove_file(file)?;
    Ok(memory)
}

/// Counts all patterns from beginning to end, also where they lie across two windows.
fn search(mut memory: impl Read, patterns: &mut [Pattern]) -> Result<()> {
    let overlap = patterns.iter().map(|pattern| pattern.bytes.len()).max();
    let mut window = vec![0; WINDOW];
    let (mut place, mut kept) = (0, 0);
    loop {
        let read = match memory.read(&mut window[kept..]) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("reading the machine's memory"),
        };
        let filled = kept + read;
        for pattern in patterns.iter_mut() {
            pattern.count_in(&window[..filled], kept, place);
        }
        let keep = overlap.map_or(0, |longest| longest - 1).min(filled);
        window.copy_within(filled - keep..filled, 0);
        place += (filled - keep) as u64;
        kept = keep;
    }
}

impl Pattern {
    fn parse(text: &str, wanted: bool) -> Result<Self> {
        let digits: Vec<char> = text.chars().filter(|digit| *digit != ' ').collect();
        let byte = |pair: &[char]| {
            u8::from_str_radix(&String::from_iter(pair), 16).with_context(|| format!("in `{text}`"))
        };
        let bytes = digits.chunks(2).map(byte).collect::<Result<Vec<u8>>>()?;
        ensure!(
            digits.len() >= 2 * SHORTEST && digits.len().is_multiple_of(2),
            "`{text}` is not at least {SHORTEST} bytes in hexadecimal"
        );
        Ok(Self {
            bytes,
            wanted,
            first: None,
            count: 0,
        })
    }

    /// Counts it in a window that begins at `place`; what ends in its first `seen` bytes was counted before.
    fn count_in(&mut self, window: &[u8], seen: usize, place: u64) {
        let from = (seen + 1).saturating_sub(self.bytes.len());
        for found in memmem::find_iter(&window[from..], &self.bytes) {
            self.first.get_or_insert(place + (from + found) as u64);
            self.count += 1;
        }
    }

    /// What is wrong with what was found.
    fn complaint(&self) -> Option<String> {
        let text: String = self
            .bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        match self.first {
            None if self.wanted => Some(format!("{text} is not in memory")),
            Some(first) if !self.wanted => Some(format!(
                "{text} is in memory {} times, first at offset {first:#x}",
                self.count
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{Pattern, WINDOW, search};

    fn find(memory: impl Read, text: &str) -> (u64, Option<u64>) {
        let mut patterns = [Pattern::parse(text, true).unwrap()];
        search(memory, &mut patterns).unwrap();
        (patterns[0].count, patterns[0].first)
    }

    #[test]
    fn finds_across_windows_and_counts_once() {
        let mut memory = vec![0; 2 * WINDOW + 100];
        let places = [5, WINDOW - 4, WINDOW + 50, 2 * WINDOW + 92];
        for place in places {
            memory[place..place + 8].copy_from_slice(b"ADYTON!!");
        }
        let text = "4144 5954 4f4e 2121";
        assert_eq!(find(memory.as_slice(), text), (4, Some(5)));
        let in_pieces = memory[..7].chain(&memory[7..13]).chain(&memory[13..40]);
        assert_eq!(find(in_pieces, text), (1, Some(5)));
        assert_eq!(find(&memory[14..WINDOW], text), (0, None));
    }

    #[test]
    fn short_patterns_are_refused() {
        assert!(Pattern::parse("4144", true).is_err());
        assert!(Pattern::parse("41445954 4f4e212", true).is_err());
        assert!(Pattern::parse("no hexadecimal at all", true).is_err());
    }

    #[test]
    fn complains_about_what_is_wrong_only() {
        let outcome = |wanted, count| {
            let mut pattern = Pattern::parse("0102030405060708", wanted).unwrap();
            (pattern.count, pattern.first) = (count, (count > 0).then_some(0));
            pattern.complaint().is_none()
        };
        assert!(outcome(true, 1) && outcome(false, 0));
        assert!(!outcome(true, 0) && !outcome(false, 1));
    }
}
