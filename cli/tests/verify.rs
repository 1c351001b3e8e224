//! The commands that need no monitor: verify, graph, measure.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use adyton_evidence::composition::Domain;
use adyton_evidence::files::hexadecimal;
use adyton_evidence::software::{Monitor, sample};

/// A folder with a sample.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let monitor = Monitor::genuine();
        let mut composition = sample::composition();
        let evidence =
            |composition: &_| monitor.evidence(sample::NONCE, sample::SUBJECT, composition);
        let write =
            |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("written");
        write("evidence", &evidence(&composition));
        if let Some(Domain::Tenant(signer)) = composition.domains.first_mut() {
            signer
                .regions
                .push(sample::window(0x300_0000, 0x1000, 1, 1));
        }
        write("shared", &evidence(&composition));
        let enclave = monitor.enclave_evidence(sample::NONCE, &sample::enclave());
        write("enclave", &enclave);
        write("enclave.toml", sample::enclave_policy().as_bytes());
        let other = sample::enclave_policy().replace("isvsvn = 3", "isvsvn = 4");
        write("newer.toml", other.as_bytes());
        write("anchors.toml", sample::anchors().as_bytes());
        write("policy.toml", sample::policy().as_bytes());
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adyton"));
        command.current_dir(&self.0).args(arguments);
        command.output().expect("it runs")
    }

    fn verify(&self, evidence: &str, more: &[&str]) -> Output {
        self.verify_by("policy.toml", evidence, more)
    }

    fn verify_by(&self, policy: &str, evidence: &str, more: &[&str]) -> Output {
        let nonce = hexadecimal(sample::NONCE);
        let mut arguments = vec!["verify", evidence, "--nonce", &nonce];
        arguments.extend(["--policy", policy, "--anchors", "anchors.toml"]);
        arguments.extend(more);
        self.run(&arguments)
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn genuine_evidence_is_accepted_and_drawn() {
    let output = Folder::new("accepted").verify("evidence", &[]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for part in [
        "ACCEPTED",
        "machine 1",
        "signer",
        "parser",
        "domain 0",
        "═══",
        "command",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(!text.contains("REFUSED"));
    assert_eq!(
        text.matches("└─ ").count(),
        2,
        "both are below domain 0:\n{text}"
    );
}

#[test]
fn an_enclave_is_told_and_judged() {
    let folder = Folder::new("enclave");
    let output = folder.verify_by("enclave.toml", "enclave", &[]);
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    let measurement = hexadecimal(&sample::enclave().measurement);
    for part in ["ACCEPTED", "SGX enclave", &measurement, "mode64bit"] {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }
    for (policy, reason) in [
        ("newer.toml", "old-enclave"),
        ("policy.toml", "wrong-subject"),
    ] {
        let output = folder.verify_by(policy, "enclave", &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(reason), "{}", text(&output));
    }
    let drawn = folder.run(&["graph", "enclave"]);
    assert_eq!(drawn.status.code(), Some(1), "there is nothing to draw");
}

/// About a payload or about a report: one of them, and a report is as long as reports are.
#[test]
fn evidence_is_about_something() {
    let folder = Folder::new("about");
    let ask = |more: &[&str]| {
        let asked = ["evidence", "--nonce", "0011223344556677", "-o", "out"];
        let output = folder.run(&[&asked[..], more].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(ask(&[]).contains("<FILE>"), "{}", ask(&[]));
    let both = ask(&["--enclave-report", "enclave", "hello"]);
    assert!(both.contains("cannot be used with"), "{both}");
    let long = ask(&["--enclave-report", "enclave"]);
    assert!(long.contains("432"), "{long}");
}

#[test]
fn an_extra_edge_is_refused_with_its_reason() {
    let folder = Folder::new("refused");
    let output = folder.verify("shared", &[]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("REFUSED") && text.contains("forbidden-memory-edge"),
        "{text}"
    );
    let json = folder.verify("shared", &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["accepted"], false);
    assert_eq!(json["findings"][0]["code"], "forbidden-memory-edge");
}

#[test]
fn what_cannot_be_decided_is_no_success() {
    let folder = Folder::new("undecided");
    assert_eq!(folder.verify("missing", &[]).status.code(), Some(1));
    fs::write(folder.0.join("policy.toml"), "version = 1\nnmae = 2").expect("written");
    let output = folder.verify("evidence", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nmae"));
}

#[test]
fn keys_and_report_data_are_compared() {
    let folder = Folder::new("bound");
    let right = hexadecimal(b"report data");
    assert!(
        folder
            .verify("evidence", &["--report-data", &right])
            .status
            .success()
    );
    assert_eq!(
        folder
            .verify("evidence", &["--report-data", "00"])
            .status
            .code(),
        Some(2)
    );
    fs::write(folder.0.join("key.der"), [0x30, 0]).expect("written");
    let output = folder.verify("evidence", &["--key", "key.der"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("bound-key-mismatch"));
}

#[test]
fn cores_of_its_own_are_drawn() {
    let folder = Folder::new("cores");
    let mut composition = sample::composition();
    if let Some(Domain::Tenant(signer)) = composition.domains.first_mut() {
        signer.whole_cores = vec![2];
    }
    let evidence = Monitor::genuine().evidence(sample::NONCE, sample::SUBJECT, &composition);
    fs::write(folder.0.join("own"), evidence).expect("written");
    let drawn = text(&folder.verify("own", &[]));
    assert!(drawn.contains("REFUSED") && drawn.contains("whole-cores"));
    assert!(drawn.contains("1 core of its own (2 threads)"), "{drawn}");
    let without = text(&folder.verify("evidence", &[]));
    assert!(!without.contains("of its own"), "{without}");
    for arguments in [&["graph", "own"][..], &["graph", "--dot", "own"]] {
        assert!(text(&folder.run(arguments)).contains("and a core of its own"));
    }
}

#[test]
fn a_graph_shows_every_domain() {
    let folder = Folder::new("graph");
    let svg = text(&folder.run(&["graph", "evidence"]));
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert_eq!(svg.matches("<rect").count(), 3);
    assert_eq!(svg.matches("class=\"memory\"").count(), 3);
    let dot = text(&folder.run(&["graph", "--dot", "evidence"]));
    assert!(
        dot.starts_with("digraph") && dot.matches(" -> ").count() == 5,
        "{dot}"
    );
    assert_eq!(folder.run(&["graph", "policy.toml"]).status.code(), Some(1));
}

#[test]
fn an_attestation_result_is_signed() {
    let folder = Folder::new("ear");
    let key = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUF
-----END PRIVATE KEY-----
";
    fs::write(folder.0.join("key.pem"), key).expect("written");
    let output = folder.verify("evidence", &["--ear", "key.pem"]);
    assert!(output.status.success());
    assert_eq!(text(&output).trim().split('.').count(), 3);
    let output = folder.verify("shared", &["--ear", "key.pem"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        folder
            .verify("evidence", &["--ear", "policy.toml"])
            .status
            .code(),
        Some(1)
    );
}
