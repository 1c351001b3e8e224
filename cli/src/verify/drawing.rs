//! A verdict for people: what takes part, what is proven at each edge, and why it was refused.

use std::collections::{BTreeMap, BTreeSet};

use adyton_evidence::closure::Edge;
use adyton_evidence::composition::{Domain, Sharing, Tenant};
use adyton_evidence::policy::Policy;
use adyton_evidence::verdict::{Finding, Machine, Seen, Verdict};

use adyton::{Attributes, Flags};

mod enclave;

use crate::show::{
    BOLD, FAINT, GREEN, YELLOW, abilities, colour, hexadecimal, kind, several, short, size,
};

pub fn print(verdict: &Verdict, policy: &Policy) {
    let answer = if verdict.is_accepted() {
        colour(GREEN, "ACCEPTED")
    } else {
        colour(YELLOW, "REFUSED")
    };
    say!("{answer}  {}", colour(BOLD, &policy.name));
    for finding in &verdict.findings {
        reason(finding);
    }
    if let Some(seen) = &verdict.seen {
        machine(seen);
        match &seen.enclave {
            Some(found) => enclave::print(found),
            None => {
                domains(seen, policy);
                edges(seen, policy);
            }
        }
    }
}

fn reason(finding: &Finding) {
    say!(
        "  {}: {}",
        colour(YELLOW, finding.code.name()),
        finding.code.sentence()
    );
    if !finding.detail.is_empty() {
        say!("      {}", finding.detail);
    }
}

fn machine(seen: &Seen) {
    say!("");
    match &seen.machine {
        Machine::Unknown => say!(
            "machine      {}",
            colour(
                YELLOW,
                "unknown: its boot was not measured, so nothing below is proven"
            )
        ),
        Machine::Known {
            machine,
            firmware,
            loader,
            monitor,
            boot,
        } => {
            say!("machine      {machine}, by its TPM's signature over this nonce");
            say!("  firmware   {firmware}, by PCRs 0, 2 and 7");
            if let Some(loader) = loader {
                say!("  loader     {loader}, by PCRs 4, 8 and 9: each of its commands and files");
            }
            say!(
                "  monitor    {monitor}, by PCR 4: the last that was started, after nothing unknown"
            );
            say!("  boot       {boot}, by PCR 12, with the key that signed the rest");
        }
    }
    if seen.by_owner {
        say!("asked by     the owner, not the domain");
    }
    if !seen.report_data.is_empty() {
        say!("report data  {}", hexadecimal(&seen.report_data));
    }
    if let Some(key) = &seen.key {
        say!("bound key    {}", hexadecimal(key));
    }
}

/// The domains, each below its commander.
fn domains(seen: &Seen, policy: &Policy) {
    say!("");
    for index in by_command(seen) {
        let depth = seen.closure.depths.get(index as usize).copied();
        let depth = depth.unwrap_or_default() as usize;
        let branch = if depth == 0 { "" } else { "└─ " };
        let indent = "   ".repeat(depth.saturating_sub(1));
        let name = colour(BOLD, &name(seen, policy, index));
        match seen.composition.tenant(index) {
            None => say!("{name}  opaque: nothing is known of it, and nothing is expected"),
            Some(tenant) => {
                let subject = if index == 0 { ", the subject" } else { "" };
                say!("{indent}{branch}{name}  {}{subject}", describe(tenant));
                say!("{indent}     {}", colour(FAINT, &memory(tenant)));
                if !tenant.whole_cores.is_empty() {
                    say!("{indent}     {}", colour(FAINT, &own_cores(tenant)));
                }
            }
        }
    }
}

/// All indices, each behind its first commander.
fn by_command(seen: &Seen) -> Vec<u64> {
    let depths = &seen.closure.depths;
    let mut below = BTreeMap::<u64, Vec<u64>>::new();
    for edge in seen.closure.edges.iter().rev() {
        if let Edge::Command { from, to } = *edge {
            below.entry(from).or_default().push(to);
        }
    }
    let mut open: Vec<u64> = (0..)
        .zip(depths)
        .filter_map(|(index, depth)| (*depth == 0).then_some(index))
        .collect();
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(index) = open.pop() {
        if seen.insert(index) {
            order.push(index);
            open.extend(below.get(&index).into_iter().flatten());
        }
    }
    order
}

/// What a domain is called: by the policy's rule, or by its number.
fn name(seen: &Seen, policy: &Policy, index: u64) -> String {
    let place = index as usize;
    if seen.composition.domains.get(place) == Some(&Domain::Opaque) {
        return "domain 0".into();
    }
    let rule = seen.rules.get(place).copied().flatten();
    let rule = rule.and_then(|rule| policy.domains.get(rule));
    rule.map_or_else(|| format!("unknown {index}"), |rule| rule.name.clone())
}

fn describe(tenant: &Tenant) -> String {
    let measurement = tenant.measurement.as_ref().map(short);
    let measurement = measurement.unwrap_or_else(|| "not sealed".into());
    let may = abilities(tenant.flags).join(", ");
    let still = abilities(tenant.still).join(", ");
    let or_nothing = |text: String| {
        if text.is_empty() {
            "nothing".into()
        } else {
            text
        }
    };
    format!(
        "{}, measured {measurement}, {}, may {}, may still {}",
        kind(tenant.flags),
        several(tenant.vcpus, "vCPU"),
        or_nothing(may),
        or_nothing(still)
    )
}

fn memory(tenant: &Tenant) -> String {
    let sum = |sharing: &[Sharing]| {
        let regions = tenant.regions.iter();
        regions
            .filter(|region| sharing.contains(&region.sharing))
            .fold(0_u64, |sum, region| sum.saturating_add(region.size))
    };
    let own = sum(&[Sharing::Exclusive, Sharing::Lent]);
    let (lent, shared) = (
        sum(&[Sharing::Lent]),
        sum(&[Sharing::Shared, Sharing::Open]),
    );
    let mut text = format!("{} nobody else reaches", size(own));
    if lent > 0 {
        text += &format!(" ({} of it has parts lent below)", size(lent));
    }
    if shared > 0 {
        text += &format!(", {} shared", size(shared));
    }
    if let Some(signer) = &tenant.signer {
        let key = short(&signer.key);
        text += &format!(
            ", signed by {key}, product {}, version {}",
            signer.product, signer.version
        );
    }
    if tenant.epoch > 0 {
        text += &format!(", changed {} times since it was sealed", tenant.epoch);
    }
    text
}

/// The cores of its own, and what is proven of them.
fn own_cores(tenant: &Tenant) -> String {
    let count = several(tenant.whole_cores.len() as u64, "core");
    let each: Vec<_> = tenant
        .whole_cores
        .iter()
        .map(|threads| several(*threads, "thread"))
        .collect();
    let elsewhere = if tenant.cores.is_empty() {
        "it runs nowhere else"
    } else {
        "it may also be entered on cores where others run"
    };
    format!(
        "{count} of its own ({}): it runs there alone, and no interrupt ends that; {elsewhere}",
        each.join(", ")
    )
}

fn edges(seen: &Seen, policy: &Policy) {
    say!("");
    for (edge, allowed) in seen.closure.edges.iter().zip(&seen.allowed) {
        let mark = if allowed.is_some() {
            colour(GREEN, "allowed")
        } else {
            colour(YELLOW, "REFUSED")
        };
        let (line, proof) = tell(seen, edge, &|index| name(seen, policy, index));
        say!("{mark}  {line}");
        say!("         {}", colour(FAINT, &proof));
    }
}

/// The edge, and what is proven about it.
fn tell(seen: &Seen, edge: &Edge, name: &dyn Fn(u64) -> String) -> (String, String) {
    match *edge {
        Edge::Memory {
            ends: [a, b],
            rights,
            size: bytes,
        } => {
            let [left, right] = rights.map(letters);
            let both = [a, b].map(|index| seen.composition.tenant(index).is_some()) == [true, true];
            let zero = if seen.composition.tenant(a).is_none() {
                rights[0]
            } else {
                rights[1]
            };
            let proof = match (both, zero.contains(Attributes::WRITE)) {
                (true, _) => {
                    "nobody else but who is named reaches these bytes; the records of both agree"
                }
                (false, true) => {
                    "domain 0 reads and writes these bytes at any time: nothing in them is secret or sure"
                }
                (false, false) => {
                    "domain 0 reads these bytes at any time: nothing in them is secret"
                }
            };
            (
                format!(
                    "{} {left} ═══ {right} {}  memory, {}",
                    name(a),
                    name(b),
                    size(bytes)
                ),
                proof.into(),
            )
        }
        Edge::Command { from, to } => {
            let flags = seen.composition.tenant(to).map(|tenant| tenant.flags);
            let proof = match flags {
                Some(flags) if flags.contains(Flags::DEBUG) => {
                    "enters and ends it, and reads all of it"
                }
                Some(flags) if flags.registers_visible() => {
                    "enters and ends it, and sees and sets its registers"
                }
                _ => "enters and ends it, and sees no more than what it says at its exits",
            };
            (
                format!("{} ──▶ {}  command", name(from), name(to)),
                proof.into(),
            )
        }
        Edge::Derivation {
            from,
            to,
            size: bytes,
        } => {
            let clean = seen.composition.tenant(to).is_some_and(|tenant| {
                let regions = tenant.regions.iter();
                let own = regions.filter(|region| region.origin == from);
                own.filter(|region| matches!(region.sharing, Sharing::Exclusive | Sharing::Lent))
                    .all(|region| region.attributes.contains(Attributes::CLEAN))
            });
            let proof = if clean {
                "can take this memory back; what was not shared is zeroed first"
            } else {
                "can take this memory back, with what is in it"
            };
            (
                format!(
                    "{} ┄┄▶ {}  memory from there, {}",
                    name(from),
                    name(to),
                    size(bytes)
                ),
                proof.into(),
            )
        }
        Edge::Device { device, domain } => (
            format!(
                "{:04x}:{:04x} ──▶ {}  device",
                device.vendor,
                device.device,
                name(domain)
            ),
            "reads and writes the domain's memory, and no other's".into(),
        ),
    }
}

/// Rights as people write them.
pub fn letters(rights: Attributes) -> String {
    crate::show::attributes(rights.intersection(Attributes::RIGHTS))
}
