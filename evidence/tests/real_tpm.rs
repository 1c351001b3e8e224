//! A TPM that is not ours: swtpm makes the quote that is verified, and tpm2-tools check what is taken out of evidence.

mod emulator;

use std::fs;
use std::path::PathBuf;

use adyton_evidence::bundle::{Bundle, Measured, Subject};
use adyton_evidence::files::{extract, hexadecimal, read_anchors, read_policy};
use adyton_evidence::platform::{Platform, QUOTED, encode_log, qualifying_data};
use adyton_evidence::software::{Monitor, sample};
use adyton_evidence::token::{Boot, Token};
use adyton_evidence::tpm::Attest;
use adyton_evidence::verdict::{Code, Verdict};
use adyton_evidence::verify::{Question, verify};
use adyton_evidence::{hash, log};
use emulator::{Tpm, attempt};

/// A new TPM, by the name of a test.
fn new(name: &str) -> Tpm {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    Tpm::start(folder)
}

/// Extends the emulated TPM as `monitor`'s log says, and makes an attestation key.
fn prepare(tpm: &Tpm, monitor: &Monitor) {
    for event in log::events(&monitor.tpm.log).expect("a log") {
        let event = event.expect("an event");
        if event.is_extended() {
            let digest = hexadecimal(&event.digest);
            tpm.tool(&format!("tpm2_pcrextend {}:sha256={digest}", event.pcr));
        }
    }
    tpm.make_attestation_key();
}

/// Evidence of `monitor`, with the emulated TPM's quote in the place of its own.
fn evidence(tpm: &Tpm, monitor: &Monitor) -> (Vec<u8>, Vec<u8>) {
    let key = monitor.key.verifying_key().to_bytes();
    let qualifying = hexadecimal(&qualifying_data(&key, sample::NONCE));
    tpm.quote(&QUOTED, &qualifying);
    let quote = tpm.read("quote");
    let clock = Attest::decode(&quote).expect("a quote").clock;
    let public = tpm.attestation_key();
    let signature = tpm.read("signature");
    let platform = Platform {
        quote: &quote,
        signature: &signature,
        key: &public,
        values: monitor.tpm.values(),
    };
    let [mut claims, mut statement, mut log] = [vec![], vec![], vec![]];
    sample::composition().encode(&mut claims).expect("memory");
    platform.encode(&mut statement).expect("memory");
    encode_log(&mut log, &monitor.tpm.log).expect("memory");
    let token = Token {
        nonce: sample::NONCE,
        interface: 1,
        security_version: 1,
        boot: Boot::Measured {
            resets: [clock.resets, clock.restarts],
            platform: hash(&statement),
            log: hash(&log),
        },
        protected: true,
        request: sample::SUBJECT,
        claims: hash(&claims),
    };
    let [mut signed, mut evidence] = [vec![], vec![]];
    token.sign(&mut signed, &monitor.key).expect("room");
    let measured = Some(Measured {
        log: &log,
        platform: &statement,
    });
    let bundle = Bundle {
        token: &signed,
        measured,
        subject: Subject::Domain,
        claims: &claims,
    };
    bundle.encode(&mut evidence).expect("memory");
    (evidence, public)
}

fn judge(evidence: &[u8], public: &[u8]) -> Verdict {
    let mut anchors = read_anchors(&sample::anchors()).expect("anchors");
    anchors.machines[0].key = hash(public);
    let policy = read_policy(&sample::policy()).expect("a policy");
    let question = Question {
        nonce: sample::NONCE,
        report_data: None,
        key: None,
        anchors: &anchors,
        policy: &policy,
    };
    verify(evidence, &question)
}

#[test]
fn a_quote_of_another_tpm_implementation_is_accepted() {
    let tpm = new("quote");
    let monitor = Monitor::genuine();
    prepare(&tpm, &monitor);
    let (right, public) = evidence(&tpm, &monitor);
    let verdict = judge(&right, &public);
    assert!(verdict.is_accepted(), "{:?}", verdict.findings);
    // One more extend in the TPM, and the same log.
    tpm.tool(&format!(
        "tpm2_pcrextend 12:sha256={}",
        hexadecimal(&[1; 32])
    ));
    let (late, public) = evidence(&tpm, &monitor);
    assert!(judge(&late, &public).has(Code::PcrMismatch));
}

/// tpm2-tools check the parts of evidence alone, of a quote by swtpm and of one by software.
#[test]
fn other_tools_check_the_quote() {
    let tpm = new("check");
    let monitor = Monitor::genuine();
    prepare(&tpm, &monitor);
    let by_swtpm = evidence(&tpm, &monitor).0;
    let by_software = monitor.evidence(sample::NONCE, sample::SUBJECT, &sample::composition());
    for (name, evidence) in [("swtpm", by_swtpm), ("software", by_software)] {
        let folder = tpm.folder.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        for (name, bytes) in extract(&evidence).expect("measured") {
            fs::write(folder.join(name), bytes).expect("written");
        }
        let check = |qualification: &str| {
            let line = format!(
                "tpm2_checkquote -Q -u ak.pem -m quote -s signature -g sha256 -q {qualification}"
            );
            attempt(&folder, &line)
        };
        let qualification = fs::read_to_string(folder.join("qualification")).expect("a file");
        assert!(check(&qualification), "{name}");
        assert!(
            !check(&hexadecimal(&[0; 32])),
            "{name}: accepted other qualifying data"
        );
        assert!(attempt(&folder, "tpm2_eventlog log"));
        let mut quote = fs::read(folder.join("quote")).expect("a file");
        *quote.last_mut().expect("bytes") ^= 1;
        fs::write(folder.join("quote"), quote).expect("written");
        assert!(!check(&qualification), "{name}: accepted a changed quote");
    }
}
