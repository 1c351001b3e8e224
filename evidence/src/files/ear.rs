//! A verdict as an attestation result: EAR (draft-ietf-rats-ear-04) in a JWT (RFC 7519) signed with Ed25519 (RFC 8037).
//!
//! The vector claims no more than was checked: nothing of memory encryption (`runtime-opaque`), storage, or file systems.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

use crate::composition::Domain;
use crate::policy::Policy;
use crate::verdict::{About, Code, Machine, Seen, Verdict};

const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// Values of a trustworthiness vector (draft-ietf-rats-ar4si, section 2.3).
mod tier {
    /// Nothing is said.
    pub const NONE: i8 = 0;
    /// All is as it should be.
    pub const AFFIRMING: i8 = 2;
    /// Genuine and approved, as far as loaded at boot.
    pub const APPROVED_BOOT: i8 = 3;
    /// Must not be relied on.
    pub const CONTRAINDICATED: i8 = 96;
    /// Evidence whose cryptography is wrong.
    pub const CRYPTOGRAPHY: i8 = 99;
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum EarError {
    /// The signing key.
    #[error("the key is not an Ed25519 private key in PEM (PKCS#8)")]
    Key,
}

/// The result as a signed JWT. `now` is the time in seconds since 1970; `key` is the verifier's, in PEM.
///
/// # Errors
/// [`EarError`].
pub fn token(
    verdict: &Verdict,
    policy: &Policy,
    nonce: &[u8],
    now: u64,
    key: &str,
) -> Result<String, EarError> {
    let key = SigningKey::from_pkcs8_pem(key).map_err(|_| EarError::Key)?;
    let encode = |value: &Value| Base64UrlUnpadded::encode_string(format!("{value}").as_bytes());
    let header = encode(&json!({ "typ": "JWT", "alg": "EdDSA" }));
    let claims = encode(&claims(verdict, policy, nonce, now));
    let signed = format!("{header}.{claims}");
    let signature = key.sign(signed.as_bytes()).to_bytes();
    let signature = Base64UrlUnpadded::encode_string(&signature);
    Ok(format!("{signed}.{signature}"))
}

fn claims(verdict: &Verdict, policy: &Policy, nonce: &[u8], now: u64) -> Value {
    let mut submods = BTreeMap::from([("platform".into(), platform(verdict, policy))]);
    if let Some(seen) = &verdict.seen {
        submods.extend(domains(verdict, seen, policy));
        if seen.enclave.is_some() {
            submods.insert("enclave".into(), subject(verdict, policy, |_| true));
        }
    }
    json!({
        "eat_profile": PROFILE,
        "iat": now,
        "ear_verifier_id": {
            "developer": "Adyton",
            "build": concat!("adyton-evidence ", env!("CARGO_PKG_VERSION")),
        },
        "eat_nonce": Base64UrlUnpadded::encode_string(nonce),
        "submods": submods,
    })
}

/// What a reason to refuse says of the machine, if it is about that.
fn of_machine(code: Code) -> Option<(&'static str, i8)> {
    Some(match code {
        Code::TooLarge
        | Code::Malformed
        | Code::WrongSignature
        | Code::StaleNonce
        | Code::DigestMismatch
        | Code::WrongQuoteSignature
        | Code::MalformedQuote
        | Code::KeyNotBound
        | Code::WrongPcrSelection
        | Code::PcrMismatch
        | Code::TpmReset
        | Code::MalformedLog
        | Code::LogMismatch => ("instance-identity", tier::CRYPTOGRAPHY),
        Code::UnmeasuredBoot | Code::UnknownAttestationKey | Code::UnsuitableAttestationKey => {
            ("instance-identity", tier::CONTRAINDICATED)
        }
        Code::NoFirmwareReference | Code::FirmwareMismatch => ("hardware", tier::CONTRAINDICATED),
        Code::NoMonitorReference
        | Code::UnknownBootEvent
        | Code::CodeAfterMonitor
        | Code::LoaderWithoutRules
        | Code::LoaderMismatch
        | Code::OldMonitor
        | Code::MonitorEvents
        | Code::KeyNotMeasured => ("executables", tier::CONTRAINDICATED),
        Code::NoBootReference | Code::ConfigurationMismatch | Code::DomainZeroMismatch => {
            ("configuration", tier::CONTRAINDICATED)
        }
        _ => return None,
    })
}

fn platform(verdict: &Verdict, policy: &Policy) -> Value {
    let known = verdict
        .seen
        .as_ref()
        .is_some_and(|seen| matches!(seen.machine, Machine::Known { .. }));
    let mut vector = BTreeMap::new();
    if known {
        vector.extend([
            ("instance-identity", tier::AFFIRMING),
            ("hardware", tier::AFFIRMING),
            ("executables", tier::APPROVED_BOOT),
            ("configuration", tier::AFFIRMING),
        ]);
    }
    vector.extend(
        verdict
            .findings
            .iter()
            .filter_map(|finding| of_machine(finding.code)),
    );
    // A policy that cannot be met, or something that is about no domain.
    let whole = |about: About| about == About::Whole;
    if vector.is_empty() && verdict.findings.iter().any(|finding| whole(finding.about)) {
        vector.insert("configuration", tier::CONTRAINDICATED);
    }
    appraisal(&vector, policy)
}

fn domains(verdict: &Verdict, seen: &Seen, policy: &Policy) -> Vec<(String, Value)> {
    let mut appraisals = Vec::new();
    for (index, (domain, rule)) in (0_u64..).zip(seen.composition.domains.iter().zip(&seen.rules)) {
        if *domain == Domain::Opaque {
            continue;
        }
        let touches = |about| match about {
            About::Whole => true,
            About::Domain(about) => about == index,
            About::Edge(edge) => seen
                .closure
                .edges
                .get(edge)
                .is_some_and(|edge| edge.touches(index)),
            About::Enclave => false,
        };
        let appraised = subject(verdict, policy, touches);
        let name = rule.and_then(|rule| policy.domains.get(rule));
        let name = name.map_or("unknown", |rule| rule.name.as_str());
        appraisals.push((format!("domain-{index}-{name}"), appraised));
    }
    appraisals
}

/// What is attested, by those findings that touch it.
fn subject(verdict: &Verdict, policy: &Policy, touches: impl Fn(About) -> bool) -> Value {
    let mut vector = BTreeMap::from([
        ("executables", tier::APPROVED_BOOT),
        ("configuration", tier::AFFIRMING),
    ]);
    let found = verdict.findings.iter().filter(|found| touches(found.about));
    vector.extend(found.map(|found| (aspect(found.code), tier::CONTRAINDICATED)));
    appraisal(&vector, policy)
}

/// Whether it is what it is that is wrong, or how it was set up.
const fn aspect(code: Code) -> &'static str {
    match code {
        Code::MeasurementMismatch
        | Code::NoReferenceValue
        | Code::Unsigned
        | Code::WrongSigner
        | Code::NotSealed
        | Code::EnclaveMismatch
        | Code::SignerMismatch
        | Code::ProductMismatch
        | Code::OldEnclave => "executables",
        _ => "configuration",
    }
}

/// The status is the worst tier of the vector.
fn appraisal(vector: &BTreeMap<&'static str, i8>, policy: &Policy) -> Value {
    let worst = vector.values().copied().max().unwrap_or(tier::NONE);
    let status = match worst {
        tier::CONTRAINDICATED.. => "contraindicated",
        32..tier::CONTRAINDICATED => "warning",
        tier::AFFIRMING..32 => "affirming",
        _ => "none",
    };
    json!({
        "ear_status": status,
        "ear_trustworthiness_vector": vector,
        "ear_appraisal_policy_ids": [policy.name],
    })
}
