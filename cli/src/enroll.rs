//! `adyton enroll`: the other side, on any machine.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use adyton_enrolment::files::{self, AnswerFile, ChallengeFile, Digits, IdentityFile, KeptFile};
use adyton_enrolment::{Refusal, answer, certificate, challenge};

use crate::failure::Failure;
use crate::identity::read;

/// First with `--challenge`, which goes to the machine (`adyton activate`), then with `--answer`.
#[derive(clap::Args)]
pub struct Options {
    /// What `adyton identity` printed on the machine
    identity: PathBuf,
    /// Certificates of the makers of TPMs that are trusted (PEM)
    #[arg(long, value_name = "FILE")]
    roots: PathBuf,
    /// Certificates between those and the TPM's (PEM)
    #[arg(long, value_name = "FILE")]
    between: Option<PathBuf>,
    /// What the challenger remembers until the answer comes; nobody else may read it
    #[arg(long, value_name = "FILE")]
    keep: PathBuf,
    /// Where the challenge is written
    #[arg(long, value_name = "FILE", required_unless_present = "answer")]
    challenge: Option<PathBuf>,
    /// What `adyton activate` printed on the machine
    #[arg(long, value_name = "FILE", conflicts_with = "challenge")]
    answer: Option<PathBuf>,
    /// What the machine is called in the anchors
    #[arg(long, value_name = "NAME", default_value = "this machine")]
    name: String,
}

/// Makes the challenge, or judges the answer and prints anchors.
pub fn run(options: &Options) -> Result<(), Failure> {
    match (&options.challenge, &options.answer) {
        (_, Some(path)) => finish(options, path),
        (Some(path), None) => begin(options, path),
        (None, None) => Ok(()),
    }
}

fn begin(options: &Options, path: &Path) -> Result<(), Failure> {
    let identity = identity(options)?;
    let refused = |error: Refusal| Failure::unusable(&options.identity, error);
    let key = endorsement_key(options, &identity)?;
    let name = answer::name(&identity.attestation_key.0).map_err(refused)?;
    let content = challenge::random();
    let made = challenge::make(&key, &name, &content).map_err(refused)?;
    let kept = KeptFile {
        attestation_key: identity.attestation_key,
        content: Digits(content.to_vec()),
    };
    keep(&options.keep, &files::write(&kept))?;
    write(path, &files::write(&ChallengeFile::from(made)))
}

/// The key to which the challenge goes, if a chain leads to it.
fn endorsement_key(
    options: &Options,
    identity: &IdentityFile,
) -> Result<certificate::EndorsementKey, Failure> {
    let chain = |path: &Path| {
        let all = certificate::read_all(read(path)?.as_bytes());
        all.map_err(|error| Failure::unusable(path, error))
    };
    let roots = chain(&options.roots)?;
    let between = options.between.as_deref().map(chain).transpose()?;
    let between = between.unwrap_or_default();
    let now = SystemTime::now();
    let shown = certificate::read_shown(&identity.certificate.0);
    shown
        .and_then(|shown| certificate::endorsement_key(&shown, &between, &roots, now))
        .map_err(|error| Failure::unusable(&options.identity, error))
}

fn finish(options: &Options, path: &Path) -> Result<(), Failure> {
    let kept: KeptFile = files::read("what was kept", &read(&options.keep)?)
        .map_err(|error| Failure::unusable(&options.keep, error))?;
    let identity = identity(options)?;
    if identity.attestation_key != kept.attestation_key {
        return Err(Failure::unusable(
            &options.identity,
            "another key was challenged",
        ));
    }
    let content = kept.content.0.as_slice().try_into();
    let content = content.map_err(|_| Failure::unusable(&options.keep, "it has another size"))?;
    let file: AnswerFile =
        files::read("the answer", &read(path)?).map_err(|error| Failure::unusable(path, error))?;
    let machine = file
        .answer()
        .and_then(|answer| answer::judge(&answer, &kept.attestation_key.0, &content))
        .map_err(|error| Failure::unusable(path, error))?;
    say!("{}", machine.anchors(&options.name));
    Ok(())
}

fn identity(options: &Options) -> Result<IdentityFile, Failure> {
    files::read("the identity", &read(&options.identity)?)
        .map_err(|error| Failure::unusable(&options.identity, error))
}

/// Writes a file that nobody else may read, in the place of one that is there: who has that one open learns nothing.
fn keep(path: &Path, text: &str) -> Result<(), Failure> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    let mut new = fs::OpenOptions::new();
    new.write(true).create_new(true).mode(0o600);
    removed
        .and_then(|()| new.open(path)?.write_all(text.as_bytes()))
        .map_err(Failure::file(path))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(Failure::file(path))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_kept_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        keep(&path, "secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        // The same where one lay that all may read, and that somebody reads.
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut reader = fs::File::open(&path).unwrap();
        keep(&path, "secret").unwrap();
        assert_eq!(mode(&path), 0o600);
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "old");
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
        assert!(keep(folder.path(), "secret").is_err());
    }
}
