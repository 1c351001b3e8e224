//! The other side of the demonstration: somebody on another machine, who believes nothing but his anchors, and decides by his policy.
//!
//! What he knows beforehand: the machine's attestation key, which was read from its TPM when the machine was set up; the reference values
//! of the monitor, kernel, initrd and command line, which come out of the build; the payloads. The firmware's three values he takes at first sight, and
//! says so: nobody publishes those of an emulated board.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::guest::Images;
use crate::image::{self, hexadecimal};
use crate::qemu::TpmEmulator;
use crate::tool;

/// Lines of the guest's console that are his.
const KEY: &str = "ADYTON-KEY ";
const EVIDENCE: &str = "ADYTON-EVIDENCE ";

/// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410), up to the key.
const KEY_HEAD: &str = "302a300506032b6570032100";

/// Who asks.
pub struct RelyingParty {
    folder: PathBuf,
    /// The machine's attestation key: SHA-256 of its public part.
    machine: String,
    /// Of what the machine shall start, by name.
    references: Vec<(String, String)>,
    pattern: String,
    nonce: String,
    /// Hexadecimal, as it came.
    key: String,
    evidence: String,
}

/// What became of one question.
struct Answer {
    accepted: bool,
    text: String,
}

impl RelyingParty {
    /// Reads the attestation key of the TPM whose state lies in `state`, and thinks of a nonce. His files lie in `folder`.
    pub fn new(folder: PathBuf, state: &Path) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self {
            machine: attestation_key(state)?,
            references: Vec::new(),
            pattern: format!("beside-the-key-{}", random()?),
            nonce: random()?,
            key: String::new(),
            evidence: String::new(),
            folder,
        })
    }

    /// What he sends.
    pub fn question(&self) -> String {
        format!("{} {}\n", self.pattern, self.nonce)
    }

    /// Learns what the machine shall start.
    pub fn expect(&mut self, references: &str, initrd: &[Vec<u8>]) {
        let lines = references.lines().filter_map(|line| line.split_once(' '));
        let owned = |(name, digest): (&str, &str)| (name.to_owned(), digest.to_owned());
        self.references = lines.map(owned).collect();
        let initrd = image::digest(&initrd.concat());
        self.references.push(("adyton:initrd".to_owned(), initrd));
    }

    /// Takes what is meant for him from the console. Whether it was.
    pub fn takes(&mut self, line: &str) -> bool {
        if let Some(key) = line.strip_prefix(KEY) {
            self.key = key.trim().to_owned();
        } else if let Some(part) = line.strip_prefix(EVIDENCE) {
            self.evidence.push_str(part.trim());
        } else {
            return false;
        }
        true
    }

    /// Decides, and shows that what was tampered with is refused. `print` gets what he says, line by line.
    pub fn decide(&self, images: &Images, print: &mut dyn FnMut(&str)) -> Result<()> {
        let evidence = bytes(&self.evidence)?;
        ensure!(!evidence.is_empty(), "no evidence came");
        let policy = self.policy(images)?;
        let at = |name: &str| self.folder.join(name);
        fs::write(at("evidence"), &evidence)?;
        fs::write(at("policy.toml"), &policy)?;
        fs::write(at("key.der"), bytes(&format!("{KEY_HEAD}{}", self.key))?)?;
        fs::write(at("empty.toml"), "version = 1\n")?;
        // Before there are anchors, for the firmware's values.
        let parts = at("parts");
        let mut command = self.command(images, "evidence", "empty.toml", &self.nonce)?;
        command.arg("--extract").arg(&parts).output()?;
        let anchors = self.anchors(&fs::read_to_string(parts.join("pcrs"))?)?;
        fs::write(at("anchors.toml"), &anchors)?;

        print("");
        print(
            "8. On another machine: is that the signer, on a machine that can be trusted with it?",
        );
        print("   The policy, from the payloads' files alone:");
        policy
            .lines()
            .for_each(|line| print(&format!("     {line}")));
        print(
            "   The anchors (the attestation key was read when the machine was set up; the firmware is taken at first sight):",
        );
        anchors
            .lines()
            .for_each(|line| print(&format!("     {line}")));
        print("");
        let answer = self.ask(images, "evidence", "anchors.toml", &self.nonce, "key.der")?;
        answer
            .text
            .lines()
            .for_each(|line| print(&format!("     {line}")));
        ensure!(
            answer.accepted,
            "genuine evidence was refused: {}",
            answer.text
        );
        self.tamper(images, &evidence, &anchors, print)
    }

    fn tamper(
        &self,
        images: &Images,
        evidence: &[u8],
        anchors: &str,
        print: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let at = |name: &str| self.folder.join(name);
        print("");
        print("9. The same with something wrong");
        // One bit of the composition, which stands at the end.
        let mut flipped = evidence.to_vec();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        fs::write(at("flipped"), flipped)?;
        let monitor = self.reference("monitor")?;
        let other = format!("{}{}", flip(&monitor[..1]), &monitor[1..]);
        fs::write(at("other.toml"), anchors.replace(monitor, &other))?;
        let mut thief = bytes(&format!("{KEY_HEAD}{}", self.key))?;
        let last = thief.len() - 1;
        thief[last] ^= 1;
        fs::write(at("thief.der"), thief)?;
        let replay = random()?;
        for (what, file, anchors, nonce, key, code) in [
            (
                "one bit of the composition is another",
                "flipped",
                "anchors.toml",
                &self.nonce,
                "key.der",
                "digest-mismatch",
            ),
            (
                "the answer to an older question",
                "evidence",
                "anchors.toml",
                &replay,
                "key.der",
                "stale-nonce",
            ),
            (
                "a monitor with one byte changed",
                "evidence",
                "other.toml",
                &self.nonce,
                "key.der",
                "unknown-boot-event",
            ),
            (
                "root presents a key of its own",
                "evidence",
                "anchors.toml",
                &self.nonce,
                "thief.der",
                "bound-key-mismatch",
            ),
        ] {
            let answer = self.ask(images, file, anchors, nonce, key)?;
            ensure!(!answer.accepted, "{what}: accepted");
            ensure!(
                answer.text.contains(code),
                "{what}: refused for another reason: {}",
                answer.text
            );
            print(&format!("   refused ({code}): {what}"));
        }
        Ok(())
    }

    fn policy(&self, images: &Images) -> Result<String> {
        let mut command = Command::new(images.program("adyton-demo")?);
        command
            .arg("policy")
            .arg(images.payloads()?)
            .arg(&self.pattern);
        Ok(String::from_utf8(tool::run(&mut command)?)?)
    }

    fn reference(&self, name: &str) -> Result<&str> {
        let mut references = self.references.iter();
        let found = references.find(|(known, _)| known == name);
        Ok(&found
            .with_context(|| format!("no reference value {name}"))?
            .1)
    }

    fn anchors(&self, registers: &str) -> Result<String> {
        let register = |number: &str| -> Result<&str> {
            let mut lines = registers.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(found, _)| *found == number);
            Ok(found.context("a register")?.1)
        };
        Ok(format!(
            r#"version = 1

[[machine]]
name = "the emulated machine"
key = "{}"

[[firmware]]
name = "its firmware"
pcrs = {{ 0 = "{}", 2 = "{}", 7 = "{}" }}

[[monitor]]
name = "adyton {}"
image = "{}"
security-version = 1

[[boot]]
name = "what was built here"
configuration = "{}"
kernel = "{}"
initrd = "{}"
command-line = "{}"
"#,
            self.machine,
            register("0")?,
            register("2")?,
            register("7")?,
            env!("CARGO_PKG_VERSION"),
            self.reference("monitor")?,
            self.reference("adyton:configuration")?,
            self.reference("adyton:kernel")?,
            self.reference("adyton:initrd")?,
            self.reference("adyton:command-line")?,
        ))
    }

    fn command(&self, images: &Images, file: &str, anchors: &str, nonce: &str) -> Result<Command> {
        let mut command = Command::new(images.program("adyton")?);
        command.current_dir(&self.folder);
        command.args([
            "verify",
            file,
            "--policy",
            "policy.toml",
            "--anchors",
            anchors,
        ]);
        command.args(["--nonce", &hexadecimal(nonce.as_bytes())]);
        Ok(command)
    }

    fn ask(
        &self,
        images: &Images,
        file: &str,
        anchors: &str,
        nonce: &str,
        key: &str,
    ) -> Result<Answer> {
        let mut command = self.command(images, file, anchors, nonce)?;
        let output = command.args(["--key", key]).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Answer {
            accepted: output.status.success(),
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }
}

/// SHA-256 of the public part of a TPM's attestation key: made from the template by which the monitor makes it.
fn attestation_key(state: &Path) -> Result<String> {
    let tpm = TpmEmulator::alone(state)?;
    let tool = |line: &str| tool::run(&mut tpm.command(line));
    tool(
        "tpm2_createprimary -Q -C e -g sha256 -G ecc256:ecdsa-sha256:null -c ak.ctx \
         -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign",
    )?;
    tool("tpm2_flushcontext -Q -t")?;
    tool("tpm2_readpublic -Q -c ak.ctx -f tss -o ak.tpm2b")?;
    // A TPM2B has its length in front.
    let public = fs::read(tpm.folder().join("ak.tpm2b"))?;
    Ok(image::digest(public.get(2..).context("a public part")?))
}

fn random() -> Result<String> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hexadecimal(&bytes))
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    ensure!(
        digits.len() == text.len() && text.len().is_multiple_of(2),
        "not hexadecimal"
    );
    let pairs = digits.chunks_exact(2);
    Ok(pairs.map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// Another digit.
fn flip(digit: &str) -> &str {
    if digit == "0" { "1" } else { "0" }
}
