//! The composition against the policy. Everything that is wrong is told.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use adyton_abi::policy::Flags;

use super::{Question, edges};
use crate::composition::{Domain, Sharing, Signer, Tenant};
use crate::policy::{ABILITIES, Policy, Rule};
use crate::verdict::{About, Code, Finding, Seen, Verdict};

/// The beginning of a digest, enough for people to tell it from others.
pub fn short(digest: &crate::Hash) -> String {
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Collects what is wrong.
pub(super) struct Findings(pub Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, code: Code, about: About, detail: impl Into<String>) {
        self.0.push(Finding {
            code,
            about,
            detail: detail.into(),
        });
    }
}

/// Compares with the policy.
pub fn judge(question: &Question<'_>, mut seen: Seen) -> Verdict {
    let mut findings = Findings(Vec::new());
    if !seen.protected && !question.policy.unprotected {
        findings.add(Code::Unprotected, About::Whole, "");
    }
    bound(question, &seen, &mut findings);
    members(question.policy, &mut seen, &mut findings);
    edges::judge(question.policy, &mut seen, &mut findings);
    Verdict {
        findings: findings.0,
        seen: Some(seen),
    }
}

/// Who asked, and what the subject bound.
fn bound(question: &Question<'_>, seen: &Seen, findings: &mut Findings) {
    let wanted = question.report_data.is_some() || question.key.is_some();
    if seen.by_owner && (wanted || !question.policy.owner) {
        findings.add(Code::FetchedByOwner, About::Domain(0), "");
    }
    if question
        .report_data
        .is_some_and(|data| data != seen.report_data)
    {
        findings.add(Code::ReportDataMismatch, About::Domain(0), "");
    }
    if question
        .key
        .is_some_and(|key| Some(key) != seen.key.as_ref())
    {
        findings.add(Code::BoundKeyMismatch, About::Domain(0), "");
    }
}

fn members(policy: &Policy, seen: &mut Seen, findings: &mut Findings) {
    let mut counts: Vec<u64> = policy.domains.iter().map(|_| 0).collect();
    let depths = seen.closure.depths.iter();
    for ((index, tenant), rule) in seen
        .composition
        .domains
        .iter()
        .enumerate()
        .zip(&mut seen.rules)
    {
        let Domain::Tenant(tenant) = tenant else {
            continue;
        };
        let index = index as u64;
        *rule = find_rule(policy, index, tenant, findings);
        if let Some((rule, count)) =
            rule.and_then(|rule| Some((policy.domains.get(rule)?, counts.get_mut(rule)?)))
        {
            *count += 1;
            member(rule, index, tenant, findings);
            if !rule.open {
                closed(&rule.name, index, tenant, findings);
            }
        }
    }
    for (depth, index) in depths.zip(0..) {
        if *depth > policy.most_depth {
            let detail = format!("{depth} levels, at most {}", policy.most_depth);
            findings.add(Code::TooDeep, About::Domain(index), detail);
        }
    }
    for (rule, count) in policy.domains.iter().zip(counts) {
        let [least, most] = rule.count;
        let detail = format!("{}: {count} of {least} to {most}", rule.name);
        if count < least {
            findings.add(Code::MissingDomain, About::Whole, detail);
        } else if count > most {
            findings.add(Code::TooManyDomains, About::Whole, detail);
        }
    }
}

/// The rule that gives the domain's measurement, or its signer where it gives no measurement; the subject has one of its own.
fn find_rule(
    policy: &Policy,
    index: u64,
    tenant: &Tenant,
    findings: &mut Findings,
) -> Option<usize> {
    let about = About::Domain(index);
    let Some(measurement) = tenant.measurement else {
        findings.add(Code::NotSealed, about, "");
        return None;
    };
    let fits = |rule: &Rule| match (&rule.signer, &tenant.signer) {
        _ if !rule.measurements.is_empty() => rule.measurements.contains(&measurement),
        // Which signer it has is said of it alone.
        (Some(_), _) if index == 0 => true,
        (Some(rule), Some(signer)) => rule.allows(signer),
        _ => false,
    };
    if index == 0 {
        let right = policy.domains.get(policy.subject).is_some_and(fits);
        if !right {
            findings.add(Code::MeasurementMismatch, about, short(&measurement));
        }
        return right.then_some(policy.subject);
    }
    let rule = policy.domains.iter().position(fits);
    if rule.is_none() {
        findings.add(Code::NoReferenceValue, about, short(&measurement));
    }
    rule
}

fn member(rule: &Rule, index: u64, tenant: &Tenant, findings: &mut Findings) {
    let about = About::Domain(index);
    let name = rule.name.as_str();
    if tenant.flags.contains(Flags::DEBUG) && !rule.debug {
        findings.add(Code::DebugDomain, about, name);
    }
    if !tenant.flags.contains(Flags::CONFIDENTIAL) && !rule.sandbox {
        findings.add(Code::NotConfidential, about, name);
    }
    match (&rule.signer, &tenant.signer) {
        (None, _) => {}
        (Some(_), None) => findings.add(Code::Unsigned, about, name),
        (Some(rule), Some(signer)) if rule.allows(signer) => {}
        (
            Some(_),
            Some(Signer {
                key,
                product,
                version,
            }),
        ) => {
            let detail = format!(
                "{name}: {}, product {product}, version {version}",
                short(key)
            );
            findings.add(Code::WrongSigner, about, detail);
        }
    }
    let abilities = tenant.flags.intersection(ABILITIES);
    if !rule.may.contains(abilities) {
        let detail = format!("{name}: {}", words(abilities, rule.may));
        findings.add(Code::ForbiddenAbility, about, detail);
    }
    if !rule.still.contains(tenant.still) {
        let detail = format!("{name}: {}", words(tenant.still, rule.still));
        findings.add(Code::MutableDomain, about, detail);
    }
    if tenant.epoch != 0 && !rule.changed {
        let detail = format!("{name}: epoch {}", tenant.epoch);
        findings.add(Code::ChangedAfterSeal, about, detail);
    }
    if tenant.vcpus > rule.most_vcpus {
        let detail = format!("{name}: {}, at most {}", tenant.vcpus, rule.most_vcpus);
        findings.add(Code::TooManyVcpus, about, detail);
    }
    cores(rule, index, tenant, findings);
}

/// Where it runs.
fn cores(rule: &Rule, index: u64, tenant: &Tenant, findings: &mut Findings) {
    let [least, most] = rule.whole_cores;
    let (about, own) = (About::Domain(index), tenant.whole_cores.len() as u64);
    if own < least || own > most {
        let detail = format!("{}: {own} of {least} to {most}", rule.name);
        findings.add(Code::WholeCores, about, detail);
    }
    if !tenant.cores.is_empty() && !rule.shared_cores {
        findings.add(Code::SharedCores, about, rule.name.as_str());
    }
}

/// Nobody can be given what the domain shares later on.
fn closed(name: &str, index: u64, tenant: &Tenant, findings: &mut Findings) {
    let regions = tenant.regions.iter();
    for region in regions.filter(|region| region.sharing == Sharing::Open) {
        let detail = format!("{name}: {} bytes at {:#x}", region.size, region.place);
        findings.add(Code::OpenMemory, About::Domain(index), detail);
    }
}

/// The abilities in `has` that are not in `allowed`, in words.
fn words(has: Flags, allowed: Flags) -> String {
    let more = Flags::ABILITIES
        .iter()
        .filter(|(flag, _)| has.contains(*flag) && !allowed.contains(*flag));
    let names: Vec<_> = more.map(|(_, name)| *name).collect();
    names.join(", ")
}
