//! What a boot loader does, as anchors have it: read from them, and written down from evidence for a person to look at.

use alloc::string::String;
use alloc::vec::Vec;
use std::format;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::{Digest, from_hexadecimal, hexadecimal};
use crate::anchors::LoaderEvent;
use crate::bundle::Bundle;
use crate::hash;
use crate::log::{COMMAND_PREFIXES, Event, command, kind};
use crate::platform::{LOADER_PCRS, Platform, STARTED_PCR, decode_log};
use crate::verify::machine::{Replayed, replay};

/// A command with GRUB's word in front, as the log has it, or a digest.
pub struct CommandEntry(pub LoaderEvent);

impl<'de> Deserialize<'de> for CommandEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(command) = command(&text) {
            let digest = hash(command.as_bytes());
            return Ok(Self(LoaderEvent { text, digest }));
        }
        let bytes = from_hexadecimal(&text).and_then(|bytes| bytes.try_into().ok());
        let digest = bytes.ok_or_else(|| {
            let why = "is neither 64 hexadecimal digits nor begins with one of";
            D::Error::custom(format!("{text:?} {why} {COMMAND_PREFIXES:?}"))
        })?;
        let text = String::new();
        Ok(Self(LoaderEvent { text, digest }))
    }
}

/// A file's digest, with its name for people or without.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected 64 hexadecimal digits, or { name = \"…\", digest = \"…\" }"
)]
pub enum FileEntry {
    /// Without.
    Plain(Digest),
    /// With.
    Named(NamedFile),
}

/// A file with its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFile {
    name: String,
    digest: Digest,
}

impl FileEntry {
    /// As anchors have it.
    pub fn event(self) -> LoaderEvent {
        let (text, digest) = match self {
            Self::Plain(digest) => (String::new(), digest.0),
            Self::Named(file) => (file.name, file.digest.0),
        };
        LoaderEvent { text, digest }
    }
}

/// What stands above it.
const CAUTION: &str = "\
# What a boot loader did on one machine, by its log: to be read before it is believed. Only for images that measure from their first
# instruction, as those that Debian signs: docs/attestation.md, section 13.
";

/// Why evidence says nothing of a boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    /// It is none, or its boot was not measured.
    #[error("it is no evidence of a machine whose boot was measured")]
    NoEvidence,
    /// The log does not lead to the registers.
    #[error("its event log does not lead to its register values")]
    Log,
    /// Firmware started the monitor.
    #[error("no boot loader took part: the firmware started the monitor itself")]
    NoLoader,
    /// Nothing of the loader's is in the log but its image.
    #[error(
        "the boot loader measured nothing of what it did (GRUB needs its module tpm), so nothing can be said of it"
    )]
    Silent,
}

/// A `[[loader]]` for anchors: what a boot loader did on the machine that gave `evidence`. Of signatures nothing is checked: evidence that is
/// accepted with what comes out has the same events.
///
/// # Errors
/// [`LoaderError`].
pub fn loader(evidence: &[u8], name: &str) -> Result<String, LoaderError> {
    let bundle = Bundle::decode(evidence).map_err(|_| LoaderError::NoEvidence)?;
    let sets = bundle.measured.ok_or(LoaderError::NoEvidence)?;
    let platform = Platform::decode(sets.platform).map_err(|_| LoaderError::NoEvidence)?;
    let log = decode_log(sets.log).map_err(|_| LoaderError::NoEvidence)?;
    let events = replay(log, &platform.values).map_err(|_| LoaderError::Log)?;
    written(&events, name)
}

fn written(events: &Replayed<'_>, name: &str) -> Result<String, LoaderError> {
    let of = |pcr: u32| events.get(&pcr).map_or(&[][..], Vec::as_slice);
    let applications = of(STARTED_PCR).iter();
    let applications = applications.filter(|event| event.kind == kind::APPLICATION);
    let digests: Vec<_> = applications
        .map(|event| quoted(&hexadecimal(&event.digest)))
        .collect();
    let images = match digests.as_slice() {
        // The last is the monitor.
        [images @ .., _] if !images.is_empty() => images.join(", "),
        _ => return Err(LoaderError::NoLoader),
    };
    let [commands, files] = LOADER_PCRS.map(of);
    if commands.is_empty() && files.is_empty() {
        return Err(LoaderError::Silent);
    }
    let lines = |entries: Vec<String>| -> String {
        let lines = entries.iter().map(|entry| format!("    {entry},\n"));
        lines.collect()
    };
    Ok(format!(
        "{CAUTION}[[loader]]\nname = {}\nimages = [{images}]\ncommands = [\n{}]\nfiles = [\n{}]\n",
        quoted(name),
        lines(commands.iter().map(command_entry).collect()),
        lines(files.iter().map(file_entry).collect()),
    ))
}

fn command_entry(event: &Event<'_>) -> String {
    match event.command() {
        Some(text) => quoted(text),
        None => quoted(&hexadecimal(&event.digest)),
    }
}

fn file_entry(event: &Event<'_>) -> String {
    let digest = quoted(&hexadecimal(&event.digest));
    match event.text() {
        Some(name) => format!("{{ name = {}, digest = {digest} }}", quoted(name)),
        None => digest,
    }
}

/// A basic string (TOML 1.0): what could end it, and what people might not see or read as something else, is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(letter),
            letter => quoted.push_str(&format!("\\U{:08x}", u32::from(letter))),
        }
    }
    quoted.push('"');
    quoted
}
