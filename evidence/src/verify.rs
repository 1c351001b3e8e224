//! Deciding about evidence, in the order of `docs/attestation.md`, section 6.
//!
//! What must hold: nothing is accepted that was not looked at; what is missing is refused like what is wrong.

use alloc::string::String;
use alloc::{format, vec};

use crate::Hash;
use crate::anchors::Anchors;
use crate::bundle::{Bundle, Subject};
use crate::cbor::decode::Malformed;
use crate::closure::{self, Closure};
use crate::composition::Composition;
use crate::cose::Sign1;
use crate::enclave::Enclave;
use crate::hash;
use crate::policy::Policy;
use crate::token::{Boot, Request, Token};
use crate::verdict::{About, Code, Finding, Machine, Seen, Verdict};

mod boot;
mod composition;
mod edges;
mod enclave;
mod loader;
pub(crate) mod machine;

/// Most bytes of evidence.
pub const MOST_BYTES: usize = 64 << 20;

/// What a relying party asks.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The nonce that it sent.
    pub nonce: &'a [u8],
    /// Report data that the subject must have bound; of an enclave, REPORTDATA without the zeros at its end.
    pub report_data: Option<&'a [u8]>,
    /// Digest of the key that the subject must have bound; of an enclave, the first half of REPORTDATA.
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
    let seen = match genuine(evidence, question) {
        Err(finding) => return Verdict::refused(finding),
        Ok(seen) => seen,
    };
    match (&question.policy.enclave, &seen.enclave) {
        (None, None) => composition::judge(question, seen),
        (Some(rule), Some(enclave)) => Verdict {
            findings: enclave::judge(question, rule, enclave, seen.protected),
            seen: Some(seen),
        },
        (None, Some(_)) => Verdict::refused(refuse(Code::WrongSubject, "an enclave")),
        (Some(_), None) => Verdict::refused(refuse(Code::WrongSubject, "a domain")),
    }
}

/// Everything up to the policy on the subject; the first failure ends it.
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
    let subject = token.request.subject();
    if bundle.subject != subject || hash(bundle.claims) != token.claims {
        return Err(refuse(Code::DigestMismatch, subject.set()));
    }
    let machine = match (token.boot, bundle.measured) {
        (Boot::Unmeasured, None) if question.policy.unmeasured => Machine::Unknown,
        (Boot::Unmeasured, None) => return Err(refuse(Code::UnmeasuredBoot, "")),
        (Boot::Measured { .. }, Some(sets)) => {
            machine::examine(&token, &signed.key, sets, question)?
        }
        _ => return Err(refuse(Code::DigestMismatch, "platform and log")),
    };
    let (composition, closure, enclave) = read(subject, bundle.claims)?;
    let (by_owner, report_data, key) = match token.request {
        Request::Owner => (true, &[][..], None),
        Request::Subject { report_data, key } => (false, report_data, key),
        Request::Enclave => (false, &[][..], None),
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
        enclave,
    })
}

/// The claims set about the subject: a composition that makes sense, or an enclave.
fn read(
    subject: Subject,
    claims: &[u8],
) -> Result<(Composition, Closure, Option<Enclave>), Refused> {
    let malformed = malformed(subject.set());
    match subject {
        Subject::Domain => {
            let composition = Composition::decode(claims).map_err(malformed)?;
            let closure = closure::examine(&composition)
                .map_err(|reason| refuse(Code::Contradiction, format!("{reason:?}")))?;
            Ok((composition, closure, None))
        }
        Subject::Enclave => {
            let enclave = Enclave::decode(claims).map_err(malformed)?;
            Ok((Composition::default(), Closure::default(), Some(enclave)))
        }
    }
}

/// A policy that nothing can satisfy, or that asks for nothing, is a mistake.
fn sane(policy: &Policy) -> Result<(), Refused> {
    if let Some(rule) = &policy.enclave {
        return enclave::sane(policy, rule);
    }
    if policy.domains.get(policy.subject).is_none() {
        return Err(refuse(Code::EmptyPolicy, ""));
    }
    let needed = policy.domains.iter().enumerate();
    let mut impossible = needed.filter(|(index, rule)| {
        let demanded = rule.count[0] > 0 || *index == policy.subject;
        let none = match &rule.signer {
            Some(signer) => signer.keys.is_empty(),
            None => rule.measurements.is_empty(),
        };
        demanded && none || rule.count[1] == 0
    });
    impossible.next().map_or(Ok(()), |(_, rule)| {
        Err(refuse(Code::PolicyAllowsNothing, rule.name.as_str()))
    })
}
