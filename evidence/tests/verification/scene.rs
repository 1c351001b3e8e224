//! A composition, the anchors that know its machine, and the policy that it satisfies.

use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use adyton_evidence::anchors::Anchors;
use adyton_evidence::composition::{Composition, Domain, Peer, Region, Sharing, Tenant};
use adyton_evidence::files::{hexadecimal, read_anchors, read_policy};
use adyton_evidence::hash;
use adyton_evidence::policy::Policy;
use adyton_evidence::software::{Monitor, digest};
use adyton_evidence::token::Request;
use adyton_evidence::verdict::{Code, Verdict};
use adyton_evidence::verify::{Question, verify};

pub const NONCE: &[u8] = b"a nonce of a relying party";
pub const SUBJECT: Request<'static> = Request::Subject {
    report_data: b"report data",
    key: Some([9; 32]),
};
const READ_WRITE: Attributes = Attributes::READ.union(Attributes::WRITE);
const PRIVATE: Attributes = READ_WRITE
    .union(Attributes::EXECUTE)
    .union(Attributes::CLEAN)
    .union(Attributes::MEASURED);

/// A domain with private memory and a console, commanded by `commander`.
pub fn tenant(name: &str, commander: u64) -> Tenant {
    Tenant {
        measurement: Some(digest(name)),
        flags: Flags::CONFIDENTIAL | Flags::MAY_ATTEST,
        exceptions: 0x100,
        vcpus: 1,
        cores: vec![[0, 4]],
        epoch: 0,
        still: Flags::NONE,
        commanders: vec![commander],
        regions: vec![
            Region {
                place: 0x40_0000,
                size: 0x8000,
                attributes: PRIVATE,
                sharing: Sharing::Exclusive,
                origin: commander,
                peers: vec![],
            },
            window(0x100_0000, 0x4000, commander, commander),
        ],
        devices: vec![],
    }
}

/// Memory in common with `peer`.
pub fn window(place: u64, size: u64, origin: u64, peer: u64) -> Region {
    Region {
        place,
        size,
        attributes: READ_WRITE,
        sharing: Sharing::Shared,
        origin,
        peers: vec![Peer {
            domain: peer,
            rights: READ_WRITE,
        }],
    }
}

/// A signer (0), domain 0 (1), and a parser (2) that shares a channel with the signer.
pub fn composition() -> Composition {
    let mut signer = tenant("signer", 1);
    let mut parser = tenant("parser", 1);
    signer.regions.push(window(0x200_0000, 0x1000, 1, 2));
    parser.regions.push(window(0x200_0000, 0x1000, 1, 0));
    Composition {
        domains: vec![
            Domain::Tenant(signer),
            Domain::Opaque,
            Domain::Tenant(parser),
        ],
    }
}

/// Changes the domain with that index.
pub fn changed(index: usize, change: impl FnOnce(&mut Tenant)) -> Composition {
    let mut composition = composition();
    let Domain::Tenant(tenant) = &mut composition.domains[index] else {
        panic!("domain 0 has nothing to change");
    };
    change(tenant);
    composition
}

pub fn anchors_text() -> String {
    let monitor = Monitor::genuine();
    let pcr = |pcr| hexadecimal(&monitor.tpm.value(pcr));
    let hex = |name| hexadecimal(&digest(name));
    format!(
        r#"
version = 1
[[machine]]
name = "machine 1"
key = "{}"
[[monitor]]
name = "monitor 1"
image = "{}"
security-version = 1
[[firmware]]
name = "firmware 1"
pcrs = {{ 0 = "{}", 2 = "{}", 7 = "{}" }}
[[loader]]
name = "loader 1"
images = ["{}"]
commands = ["{}"]
files = ["{}"]
[[boot]]
name = "boot 1"
configuration = "{}"
kernel = "{}"
initrd = "{}"
command-line = "{}"
"#,
        hexadecimal(&hash(&monitor.tpm.public())),
        hex("monitor"),
        pcr(0),
        pcr(2),
        pcr(7),
        hex("loader"),
        hex("chainloader /monitor"),
        hex("grub.cfg"),
        hex("configuration"),
        hex("kernel"),
        hex("initrd"),
        hex("command line"),
    )
}

pub fn anchors() -> Anchors {
    read_anchors(&anchors_text()).expect("anchors")
}

pub fn policy_text() -> String {
    format!(
        r#"
version = 1
name = "signer and parser"
subject = "signer"
security-version = 1

[[domain]]
name = "signer"
measurement = ["{}"]
may = ["attest"]

[[domain]]
name = "parser"
measurement = ["{}"]
may = ["attest"]

[[memory]]
between = ["signer", "domain-0"]
rights = ["rw-", "rw-"]
most = "16K"

[[memory]]
between = ["parser", "domain-0"]
rights = ["rw-", "rw-"]
most = "16K"

[[memory]]
between = ["signer", "parser"]
rights = ["rw-", "rw-"]
most = "4K"

[[command]]
from = "domain-0"
to = "signer"

[[command]]
from = "domain-0"
to = "parser"

[[derivation]]
from = "domain-0"
to = "signer"

[[derivation]]
from = "domain-0"
to = "parser"
"#,
        hexadecimal(&digest("signer")),
        hexadecimal(&digest("parser")),
    )
}

pub fn policy() -> Policy {
    read_policy(&policy_text()).expect("policy")
}

/// The policy's text with one passage changed, read again.
pub fn policy_with(from: &str, to: &str) -> Policy {
    let text = policy_text();
    assert!(text.contains(from), "{from} is not in the policy");
    read_policy(&text.replacen(from, to, 1)).expect("policy")
}

/// The verdict on evidence, by the usual question.
pub fn judge(evidence: &[u8], policy: &Policy) -> Verdict {
    let anchors = anchors();
    let question = Question {
        nonce: NONCE,
        report_data: None,
        key: None,
        anchors: &anchors,
        policy,
    };
    verify(evidence, &question)
}

/// Evidence of a genuine monitor.
pub fn genuine(composition: &Composition) -> Vec<u8> {
    Monitor::genuine().evidence(NONCE, SUBJECT, composition)
}

#[track_caller]
pub fn accepted(verdict: &Verdict) {
    assert!(verdict.is_accepted(), "{:?}", verdict.findings);
}

/// Refused for this reason and no other.
#[track_caller]
pub fn refused(verdict: &Verdict, code: Code) {
    assert!(!verdict.is_accepted());
    let codes: Vec<_> = verdict
        .findings
        .iter()
        .map(|finding| finding.code)
        .collect();
    assert_eq!(codes, [code], "{:?}", verdict.findings);
}
