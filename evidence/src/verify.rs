//! Deciding about evidence, in the order of `docs/attestation.md`, section 6.
//!
//! What must hold: nothing is accepted that was not looked at; what is missing is refused like what is wrong.

use alloc::string::String;
use alloc::{format, vec};

use crate::Hash;
use crate::anchors::Anchors;
use crate::bundle::Bundle;
use crate::cbor::decode::Malformed;
use crate::closure;
use crate::composition::Composition;
use crate::cose::Sign1;
use crate::hash;
use crate::policy::Policy;
use crate::token::{Boot, Request, Token};
use crate::verdict::{About, Code, Finding, Machine, Seen, Verdict};

mod boot;
mod composition;
mod edges;
mod machine;

/// Most bytes of evidence.
pub const MOST_BYTES: usize = 64 << 20;

/// What a relying party asks.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The nonce that it sent.
    pub nonce: &'a [u8],
    /// Report data that the subject must have bound.
    pub report_data: Option<&'a [u8]>,
    /// Digest of the key that the subject must have bound.
    pub key: Option<&'a Hash>,
    /// Whom it trusts.
    pub anchors: &'a Anchors,
    /// What it wants.
    pub policy: &'a Policy,
}

/// Refused, with the reason.
pub(crate) type Refused = Finding;

pub(crate) fn refuse(code: Code, detail: impl Into<String>) -> Refused {
    Finding {
        code,
        about: About::Whole,
        detail: detail.into(),
    }
}

fn malformed(part: &str) -> impl Fn(Malformed) -> Refused + '_ {
    move |reason| refuse(Code::Malformed, format!("{part}: {reason:?}"))
}

/// Decides about `evidence`.
#[must_use]
pub fn verify(evidence: &[u8], question: &Question<'_>) -> Verdict {
    match genuine(evidence, question) {
        Err(finding) => Verdict {
            findings: vec![finding],
            seen: None,
        },
        Ok(seen) => composition::judge(question, seen),
    }
}

/// Everything up to the policy on the composition; the first failure ends it.
fn genuine(evidence: &[u8], question: &Question<'_>) -> Result<Seen, Refused> {
    sane(question.policy)?;
    if evidence.len() > MOST_BYTES {
        let detail = format!("{} bytes, at most {MOST_BYTES}", evidence.len());
        return Err(refuse(Code::TooLarge, detail));
    }
    let bundle = Bundle::decode(evidence).map_err(malformed("bundle"))?;
    let signed = Sign1::decode(bundle.token).map_err(malformed("token"))?;
    if !signed.is_genuine() {
        return Err(refuse(Code::WrongSignature, "main token"));
    }
    let token = Token::decode(signed.payload).map_err(malformed("claims"))?;
    if token.nonce != question.nonce {
        return Err(refuse(Code::StaleNonce, ""));
    }
    if hash(bundle.composition) != token.composition {
        return Err(refuse(Code::DigestMismatch, "composition"));
    }
    let machine = match (token.boot, bundle.measured) {
        (Boot::Unmeasured, None) if question.policy.unmeasured => Machine::Unknown,
        (Boot::Unmeasured, None) => return Err(refuse(Code::UnmeasuredBoot, "")),
        (Boot::Measured { .. }, Some(sets)) => {
            machine::examine(&token, &signed.key, sets, question)?
        }
        _ => return Err(refuse(Code::DigestMismatch, "platform and log")),
    };
    let composition = Composition::decode(bundle.composition).map_err(malformed("composition"))?;
    let closure = closure::examine(&composition)
        .map_err(|reason| refuse(Code::Contradiction, format!("{reason:?}")))?;
    let (by_owner, report_data, key) = match token.request {
        Request::Owner => (true, &[][..], None),
        Request::Subject { report_data, key } => (false, report_data, key),
    };
    Ok(Seen {
        machine,
        monitor: [token.interface, token.security_version],
        protected: token.protected,
        by_owner,
        report_data: report_data.into(),
        key,
        rules: vec![None; composition.domains.len()],
        allowed: vec![None; closure.edges.len()],
        composition,
        closure,
    })
}

/// A policy that nothing can satisfy, or that asks for nothing, is a mistake.
fn sane(policy: &Policy) -> Result<(), Refused> {
    if policy.domains.get(policy.subject).is_none() {
        return Err(refuse(Code::EmptyPolicy, ""));
    }
    let needed = policy.domains.iter().enumerate();
    let mut impossible = needed.filter(|(index, rule)| {
        let demanded = rule.count[0] > 0 || *index == policy.subject;
        demanded && rule.measurements.is_empty() || rule.count[1] == 0
    });
    impossible.next().map_or(Ok(()), |(_, rule)| {
        Err(refuse(Code::PolicyAllowsNothing, rule.name.as_str()))
    })
}
