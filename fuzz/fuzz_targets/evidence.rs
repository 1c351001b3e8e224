//! What verifiers read: evidence and all its parts, event logs, TPM structures, policies and anchors.
//!
//! Bytes of the fuzzer's own get no further than the first that is not CBOR. So it also changes genuine evidence, before it is signed and
//! after: nothing panics, and what is not as it was signed is not accepted.
#![no_main]

use std::sync::LazyLock;

use adyton_evidence::anchors::Anchors;
use adyton_evidence::files::{loader, read_anchors, read_policy};
use adyton_evidence::policy::Policy;
use adyton_evidence::software::{Monitor, read_everything, sample};
use adyton_evidence::verify::{Question, verify};
use libfuzzer_sys::fuzz_target;

/// A machine made of software, genuine evidence of it, its claims as they are signed, and by what all is judged.
struct Scene {
    monitor: Monitor,
    evidence: Vec<u8>,
    claims: Vec<u8>,
    anchors: Anchors,
    policy: Policy,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let (monitor, composition) = (Monitor::genuine(), sample::composition());
    let mut claims = vec![];
    composition.encode(&mut claims).expect("memory takes all");
    let scene = Scene {
        evidence: monitor.evidence(sample::NONCE, sample::SUBJECT, &composition),
        monitor,
        claims,
        anchors: read_anchors(&sample::anchors()).expect("anchors"),
        policy: read_policy(&sample::policy()).expect("a policy"),
    };
    assert!(scene.accepts(&scene.evidence), "the control");
    scene
});

impl Scene {
    fn accepts(&self, evidence: &[u8]) -> bool {
        let question = Question {
            nonce: sample::NONCE,
            report_data: None,
            key: None,
            anchors: &self.anchors,
            policy: &self.policy,
        };
        verify(evidence, &question).is_accepted()
    }
}

/// Writes bytes over, or into, `whole` at these places.
fn changed(whole: &[u8], changes: &[(u16, bool, Vec<u8>)]) -> Vec<u8> {
    let mut changed = whole.to_vec();
    for (place, inserts, bytes) in changes {
        let start = usize::from(*place) % (changed.len() + 1);
        let end = match inserts {
            true => start,
            false => (start + bytes.len()).min(changed.len()),
        };
        changed.splice(start..end, bytes.iter().copied());
    }
    changed
}

fuzz_target!(|input: (u8, Vec<u8>, Vec<(u16, bool, Vec<u8>)>)| {
    let (what, bytes, changes) = input;
    let scene = &*SCENE;
    let Scene {
        monitor,
        evidence,
        claims,
        ..
    } = scene;
    match what % 5 {
        0 => read_everything(&bytes),
        1 => {
            if let Ok(text) = core::str::from_utf8(&bytes) {
                let _refused = (read_anchors(text), read_policy(text));
            }
        }
        2 => {
            let spoilt = changed(evidence, &changes);
            read_everything(&spoilt);
            assert!(
                spoilt == *evidence || !scene.accepts(&spoilt),
                "a change was not noticed"
            );
        }
        // A monitor that signs nonsense.
        3 => {
            let spoilt = changed(claims, &changes);
            let key = monitor.key.verifying_key().to_bytes();
            let qualifying = adyton_evidence::platform::qualifying_data(&key, sample::NONCE);
            let quote = monitor.tpm.quote(&qualifying);
            let signed = monitor.evidence_claiming(sample::NONCE, sample::SUBJECT, &spoilt, &quote);
            let _verdict = scene.accepts(&signed);
        }
        // A log that a machine could have: the registers are what the TPM says, whatever it tells.
        _ => {
            let mut machine = monitor.clone();
            machine.tpm.log = changed(&machine.tpm.log, &changes);
            let told = machine.evidence(sample::NONCE, sample::SUBJECT, &sample::composition());
            let _none = loader(&told, "");
            let is_genuine = machine.tpm.log == monitor.tpm.log;
            let _verdict = is_genuine || scene.accepts(&told);
        }
    }
});
