//! An enclave against the policy. Everything that is wrong is told.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::composition::{Findings, short};
use super::{Question, Refused, refuse};
use crate::enclave::{Enclave, Separation, attribute};
use crate::policy::{EnclaveRule, Policy};
use crate::verdict::{About, Code, Finding};

/// A rule that names nobody, or that stands beside rules for domains, is a mistake.
pub(super) fn sane(policy: &Policy, rule: &EnclaveRule) -> Result<(), Refused> {
    if !policy.domains.is_empty() || !policy.edges.is_empty() {
        let detail = "domains beside an enclave";
        return Err(refuse(Code::PolicyAllowsNothing, detail));
    }
    if rule.measurements.is_none() && rule.signed.is_none() {
        return Err(refuse(Code::EmptyPolicy, ""));
    }
    let measurements = rule.measurements.as_ref();
    let signers = rule.signed.as_ref().map(|signed| &signed.signers);
    if [measurements, signers]
        .into_iter()
        .flatten()
        .any(Vec::is_empty)
    {
        return Err(refuse(Code::PolicyAllowsNothing, ""));
    }
    Ok(())
}

/// Compares with the rule.
pub(super) fn judge(
    question: &Question<'_>,
    rule: &EnclaveRule,
    enclave: &Enclave,
    protected: bool,
) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if !protected && !question.policy.unprotected {
        findings.add(Code::Unprotected, About::Whole, "");
    }
    let mut add = |code, detail| findings.add(code, About::Enclave, detail);
    bound(question, enclave, &mut add);
    identity(rule, enclave, &mut add);
    attributes(rule, enclave, &mut add);
    separation(rule, enclave, &mut add);
    findings.0
}

/// What the enclave bound, in its own words.
fn bound(question: &Question<'_>, enclave: &Enclave, add: &mut impl FnMut(Code, String)) {
    if let Some(wanted) = question.report_data {
        let is_bound = enclave.data.strip_prefix(wanted).is_some_and(is_zero);
        if !is_bound {
            add(Code::ReportDataMismatch, String::new());
        }
    }
    if question
        .key
        .is_some_and(|key| !enclave.data.starts_with(key))
    {
        add(Code::BoundKeyMismatch, String::new());
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn identity(rule: &EnclaveRule, enclave: &Enclave, add: &mut impl FnMut(Code, String)) {
    if let Some(measurements) = &rule.measurements
        && !measurements.contains(&enclave.measurement)
    {
        add(Code::EnclaveMismatch, short(&enclave.measurement));
    }
    if let Some(signed) = &rule.signed {
        if !signed.signers.contains(&enclave.signer) {
            add(Code::SignerMismatch, short(&enclave.signer));
        }
        if signed.product != enclave.product {
            let detail = format!("{}, not {}", enclave.product, signed.product);
            add(Code::ProductMismatch, detail);
        }
    }
    if enclave.version < rule.version {
        let detail = format!("{}, at least {}", enclave.version, rule.version);
        add(Code::OldEnclave, detail);
    }
}

fn attributes(rule: &EnclaveRule, enclave: &Enclave, add: &mut impl FnMut(Code, String)) {
    if enclave.is_debugged() && !rule.debug {
        add(Code::DebugEnclave, String::new());
    }
    let flags = enclave.flags & !(attribute::INIT | attribute::DEBUG);
    let wrong = [
        ("flags", flags, rule.flags, rule.may),
        ("XFRM", enclave.xfrm, rule.xfrm, rule.xfrm_may),
        (
            "MISCSELECT",
            enclave.miscselect.into(),
            0,
            rule.miscselect.into(),
        ),
    ];
    for (name, found, must, may) in wrong {
        if found & must != must || found & !(must | may) != 0 {
            let detail = format!("{name} {found:#x}, must have {must:#x}, may have {may:#x}");
            add(Code::EnclaveAttributes, detail);
        }
    }
}

/// What is not said of an enclave with KSS must be zero: its configuration is chosen by whoever creates it.
fn separation(rule: &EnclaveRule, enclave: &Enclave, add: &mut impl FnMut(Code, String)) {
    let found = enclave.separation.as_ref().unwrap_or(&Separation::NONE);
    let wanted = &rule.separation;
    if found.product != wanted.product || found.family != wanted.family {
        add(Code::ProductMismatch, "ISVEXTPRODID or ISVFAMILYID".into());
    }
    if found.configuration != wanted.configuration {
        add(Code::EnclaveConfiguration, "CONFIGID".into());
    }
    if found.configuration_version < wanted.configuration_version {
        let [found, wanted] = [found, wanted].map(|one| one.configuration_version);
        let detail = format!("CONFIGSVN {found}, at least {wanted}");
        add(Code::EnclaveConfiguration, detail);
    }
}
