//! What the tests have in common: the sample, changes to it, and questions about it.

use adyton_evidence::anchors::Anchors;
use adyton_evidence::composition::{Composition, Domain, Tenant};
use adyton_evidence::files::{read_anchors, read_policy};
use adyton_evidence::policy::Policy;
use adyton_evidence::software::{Monitor, sample};
use adyton_evidence::verdict::{Code, Verdict};
use adyton_evidence::verify::{Question, verify};

pub use sample::{
    NONCE, SUBJECT, anchors as anchors_text, composition, policy as policy_text, tenant, window,
};

/// Changes the domain with that index.
pub fn changed(index: usize, change: impl FnOnce(&mut Tenant)) -> Composition {
    let mut composition = composition();
    let Domain::Tenant(tenant) = &mut composition.domains[index] else {
        panic!("domain 0 has nothing to change");
    };
    change(tenant);
    composition
}

pub fn anchors() -> Anchors {
    read_anchors(&anchors_text()).expect("anchors")
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
    judge_by(evidence, policy, &anchors())
}

/// The same, by other anchors.
pub fn judge_by(evidence: &[u8], policy: &Policy, anchors: &Anchors) -> Verdict {
    let question = Question {
        nonce: NONCE,
        report_data: None,
        key: None,
        anchors,
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
