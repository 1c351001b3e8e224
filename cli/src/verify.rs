//! `adyton verify`: whether another machine runs what it should.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use adyton_evidence::files;
use adyton_evidence::policy::Policy;
use adyton_evidence::verdict::Verdict;
use adyton_evidence::verify::{Question, verify};

use crate::Arguments;
use crate::failure::Failure;

mod drawing;

/// Exit status of a refusal.
const REFUSED: u8 = 2;

/// What is asked of the evidence.
#[derive(clap::Args)]
pub struct Options {
    /// The evidence
    file: PathBuf,
    /// The nonce that was sent, in hexadecimal
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// Which composition, or which enclave, is right (TOML)
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Which machines, firmware and monitors are trusted (TOML)
    #[arg(long, value_name = "FILE")]
    anchors: PathBuf,
    /// Report data that the domain must have bound, in hexadecimal; of an enclave, REPORTDATA, zeros at its end left out
    #[arg(long, value_name = "HEX")]
    report_data: Option<String>,
    /// A public key (PEM or DER) that the domain must have bound; of an enclave, by the first half of REPORTDATA
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print an attestation result (EAR) instead, signed with this Ed25519 private key (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    ear: Option<PathBuf>,
    /// Write quote, key, log and so on into this folder, for other TPM verifiers
    #[arg(long, value_name = "FOLDER")]
    extract: Option<PathBuf>,
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(Failure::file(path))
}

fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?).map_err(|reason| Failure::unusable(path, reason))
}

/// Bytes from hexadecimal.
pub fn bytes(text: &str) -> Result<Vec<u8>, Failure> {
    files::from_hexadecimal(text).ok_or_else(|| Failure::Hexadecimal(text.into()))
}

pub fn print(arguments: &Arguments, options: &Options) -> Result<ExitCode, Failure> {
    let evidence = read(&options.file)?;
    let policy = files::read_policy(&read_text(&options.policy)?)
        .map_err(|reason| Failure::unusable(&options.policy, reason))?;
    let anchors = files::read_anchors(&read_text(&options.anchors)?)
        .map_err(|reason| Failure::unusable(&options.anchors, reason))?;
    let nonce = bytes(&options.nonce)?;
    let report_data = options.report_data.as_deref().map(bytes).transpose()?;
    let key = options.key.as_deref().map(bound_key).transpose()?;
    if let Some(folder) = &options.extract {
        extract(&evidence, &options.file, folder)?;
    }
    let verdict = verify(
        &evidence,
        &Question {
            nonce: &nonce,
            report_data: report_data.as_deref(),
            key: key.as_ref(),
            anchors: &anchors,
            policy: &policy,
        },
    );
    match &options.ear {
        Some(key) => say!("{}", ear(&verdict, &policy, &nonce, key)?),
        None if arguments.json => say!("{:#}", files::json(&verdict, &policy)),
        None => drawing::print(&verdict, &policy),
    }
    Ok(if verdict.is_accepted() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(REFUSED)
    })
}

fn bound_key(path: &Path) -> Result<[u8; 32], Failure> {
    let digest = files::key_digest(&read(path)?);
    digest.ok_or_else(|| Failure::unusable(path, "not a public key in PEM or DER"))
}

fn ear(verdict: &Verdict, policy: &Policy, nonce: &[u8], key: &Path) -> Result<String, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    files::ear(verdict, policy, nonce, now, &read_text(key)?)
        .map_err(|reason| Failure::unusable(key, reason))
}

fn extract(evidence: &[u8], file: &Path, folder: &Path) -> Result<(), Failure> {
    let parts = files::extract(evidence).map_err(|reason| {
        Failure::unusable(file, format_args!("has no TPM's statement: {reason:?}"))
    })?;
    let written = fs::create_dir_all(folder).and_then(|()| {
        parts
            .iter()
            .try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
    });
    written.map_err(Failure::file(folder))
}
