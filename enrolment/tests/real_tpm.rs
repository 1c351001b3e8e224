//! Machines made of swtpm, certified by a maker of our own, that answer with tpm2-tools.

#[path = "../../evidence/tests/emulator/mod.rs"]
mod emulator;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use adyton_enrolment::answer::{self, Answer, judge};
use adyton_enrolment::challenge::{self, Challenge};
use adyton_enrolment::{Refusal, certificate, files};
use adyton_evidence::files::hexadecimal;
use adyton_evidence::platform::{QUOTED, qualifying_data};
use emulator::{Tpm, attempt};

/// A maker of TPMs.
struct Maker(PathBuf);

impl Maker {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _absent = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("ca")).expect("a folder");
        let at = |name: &str| folder.join(name).display().to_string();
        let files = [
            (
                "setup.conf",
                format!(
                    "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {}\n\
                     create_certs_tool_options = {}\n",
                    at("ca.conf"),
                    at("ca.options")
                ),
            ),
            (
                "ca.conf",
                format!(
                    "statedir = {0}\nsigningkey = {0}/key.pem\nissuercert = {0}/issuer.pem\ncertserial = {0}/serial\n",
                    at("ca")
                ),
            ),
            (
                "ca.options",
                "--platform-manufacturer Adyton\n--platform-version 1\n--platform-model test\n"
                    .to_owned(),
            ),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("a file");
        }
        Self(folder)
    }

    fn certificates(&self, name: &str) -> Vec<x509_cert::Certificate> {
        let pem = fs::read(self.0.join("ca").join(name)).expect(name);
        certificate::read_all(&pem).expect("certificates")
    }

    fn roots(&self) -> Vec<x509_cert::Certificate> {
        self.certificates("swtpm-localca-rootca-cert.pem")
    }

    fn between(&self) -> Vec<x509_cert::Certificate> {
        self.certificates("issuer.pem")
    }

    /// Makes a TPM, with an attestation key.
    fn tpm(&self, name: &str) -> Tpm {
        let folder = self.0.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--overwrite", "--tpmstate"])
            .arg(&folder)
            .arg("--config")
            .arg(self.0.join("setup.conf"))
            .stdout(Stdio::null())
            .status();
        assert!(
            made.expect("swtpm_setup: `cargo xtask setup` installs it")
                .success()
        );
        let tpm = Tpm::start(folder);
        tpm.make_attestation_key();
        tpm.tool("tpm2_nvread -Q 0x1c00002 -o certificate");
        tpm
    }
}

impl Tpm {
    /// What a challenge holds, if this TPM can tell.
    fn activate(&self, challenge: &Challenge) -> Option<[u8; 32]> {
        const HEAD: [u8; 8] = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];
        let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
        let file = [
            HEAD.to_vec(),
            sized(&challenge.credential),
            sized(&challenge.secret),
        ];
        fs::write(self.folder.join("challenge"), file.concat()).expect("a file");
        self.tool("tpm2_createek -Q -G rsa -c ek.ctx");
        assert!(attempt(
            &self.folder,
            "tpm2_startauthsession -Q --policy-session -S session"
        ));
        assert!(attempt(
            &self.folder,
            "tpm2_policysecret -Q -S session -c e"
        ));
        let line = "tpm2_activatecredential -Q -c ak.ctx -C ek.ctx -i challenge -o opened -P session:session";
        let opened = attempt(&self.folder, line);
        attempt(&self.folder, "tpm2_flushcontext session");
        attempt(&self.folder, "tpm2_flushcontext -Q -t");
        opened.then(|| self.read("opened").try_into().expect("32 bytes"))
    }

    /// The whole answer, with a quote for this nonce.
    fn answer(&self, content: [u8; 32], nonce: &[u8]) -> Answer {
        let monitor_key = [5; 32];
        let qualifying = hexadecimal(&qualifying_data(&monitor_key, nonce));
        self.quote(&QUOTED, &qualifying);
        let selected = QUOTED.map(|pcr| pcr.to_string()).join(",");
        self.tool(&format!("tpm2_pcrread -Q sha256:{selected} -o values"));
        let values = self.read("values");
        Answer {
            content,
            monitor_key,
            statement: self.read("quote"),
            signature: self.read("signature"),
            values: values.as_chunks().0.try_into().expect("all registers"),
        }
    }
}

#[test]
fn a_machine_is_enrolled_and_no_other_in_its_name() {
    let maker = Maker::new("maker");
    let tpm = maker.tpm("machine");
    tpm.tool(&format!("tpm2_pcrextend 2:sha256={}", "42".repeat(32)));
    let now = SystemTime::now();
    let shown = certificate::read_shown(&tpm.read("certificate")).expect("a certificate");
    let key = certificate::endorsement_key(&shown, &maker.between(), &maker.roots(), now)
        .expect("a chain");
    let public = tpm.attestation_key();
    let name = answer::name(&public).expect("an attestation key");
    let content = challenge::random();
    let made = challenge::make(&key, &name, &content).expect("a challenge");
    assert_eq!(tpm.activate(&made), Some(content));
    let good = tpm.answer(content, &content);
    let machine = judge(&good, &public, &content).expect("it is enrolled");
    assert_eq!(machine.firmware.map(|(pcr, _)| pcr), [0, 2, 7]);
    assert_eq!(machine.firmware[1].1, good.values[2]);
    assert_ne!(machine.firmware[1].1, machine.firmware[0].1);
    let text = machine.anchors("a \"name\"");
    adyton_evidence::files::read_anchors(&text).expect("anchors");

    // Another TPM of the same maker, for this key or for its own.
    let other = maker.tpm("other");
    assert_eq!(other.activate(&made), None);
    let others = answer::name(&other.attestation_key()).expect("an attestation key");
    let crossed = challenge::make(&key, &others, &content).expect("a challenge");
    assert_eq!(tpm.activate(&crossed), None);
    assert_eq!(other.activate(&crossed), None);
    let mut bent = made;
    bent.credential[50] ^= 1;
    assert_eq!(tpm.activate(&bent), None);

    spoilt(&tpm, &other, &good, &public, &content);
    chains(&maker, &shown);
}

/// An answer that is wrong in one respect.
fn spoilt(tpm: &Tpm, other: &Tpm, good: &Answer, public: &[u8], content: &[u8; 32]) {
    let judged = |answer: &Answer| judge(answer, public, content);
    assert!(judged(good).is_ok());
    let mut guessed = good.clone();
    guessed.content[0] ^= 1;
    assert!(matches!(judged(&guessed), Err(Refusal::NotOpened)));
    let mut values = good.clone();
    values.values[0][0] ^= 1;
    let mut monitor = good.clone();
    monitor.monitor_key[0] ^= 1;
    let mut signature = good.clone();
    signature.signature[20] ^= 1;
    let old = tpm.answer(*content, b"another nonce");
    let others = other.answer(*content, content);
    for bad in [values, monitor, signature, old, others] {
        assert!(matches!(judged(&bad), Err(Refusal::Statement(_))));
    }
}

/// No chain, no purpose, or at another time.
fn chains(maker: &Maker, shown: &x509_cert::Certificate) {
    let now = SystemTime::now();
    let other = Maker::new("another-maker");
    drop(other.tpm("machine"));
    let key =
        |between: &[_], roots: &[_], now| certificate::endorsement_key(shown, between, roots, now);
    let (between, roots) = (maker.between(), maker.roots());
    assert!(key(&between, &roots, now).is_ok());
    assert!(key(&[], &between, now).is_ok());
    let no_chain = |outcome| matches!(outcome, Err(Refusal::NoChain));
    assert!(no_chain(key(&[], &roots, now)));
    assert!(no_chain(key(&between, &[], now)));
    assert!(no_chain(key(&other.between(), &other.roots(), now)));
    assert!(no_chain(key(&between, &other.roots(), now)));
    let long_ago = SystemTime::UNIX_EPOCH;
    assert!(matches!(
        key(&between, &roots, long_ago),
        Err(Refusal::WrongKind(_))
    ));
    // An authority's certificate is no TPM's.
    let authority = certificate::endorsement_key(&between[0], &[], &roots, now);
    assert!(matches!(authority, Err(Refusal::WrongKind(_))));
}

#[test]
fn a_changed_certificate_has_no_chain() {
    let maker = Maker::new("changed");
    let tpm = maker.tpm("machine");
    let der = tpm.read("certificate");
    let (between, roots) = (maker.between(), maker.roots());
    let accepted = |der: &[u8]| {
        let shown = certificate::read_shown(der);
        shown
            .and_then(|shown| {
                certificate::endorsement_key(&shown, &between, &roots, SystemTime::now())
            })
            .is_ok()
    };
    assert!(accepted(&der));
    let size = 4 + usize::from(u16::from_be_bytes([der[2], der[3]]));
    for place in (4..size).step_by(3) {
        let mut bad = der.clone();
        bad[place] ^= 1;
        assert!(!accepted(&bad), "byte {place}");
    }
}

#[test]
fn files_say_what_they_said() {
    let file = files::ChallengeFile {
        credential: files::Digits(vec![0, 0xff]),
        secret: files::Digits(Vec::new()),
    };
    let text = files::write(&file);
    let again: files::ChallengeFile = files::read("it", &text).expect("the same");
    assert_eq!(again.credential, file.credential);
    assert!(files::read::<files::ChallengeFile>("it", &text.replace("00ff", "00f")).is_err());
    assert!(files::read::<files::ChallengeFile>("it", &format!("{text}more = 1\n")).is_err());
}
