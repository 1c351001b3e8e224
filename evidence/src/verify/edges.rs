//! The edges of the composition against those that the policy allows.

use alloc::format;
use alloc::string::String;

use super::composition::Findings;
use crate::closure::Edge;
use crate::composition::Domain;
use crate::policy::{EdgeRule, End, Policy};
use crate::verdict::{About, Code, Seen};

/// What stands at an end of an edge, as policies name it; `None` for a domain that no rule stands for.
fn end(seen: &Seen, index: u64) -> Option<End> {
    let place = usize::try_from(index).ok()?;
    match seen.composition.domains.get(place)? {
        Domain::Opaque => Some(End::Zero),
        Domain::Tenant(_) => seen.rules.get(place).copied().flatten().map(End::Rule),
    }
}

pub fn judge(policy: &Policy, seen: &mut Seen, findings: &mut Findings) {
    for index in 0..seen.closure.edges.len() {
        let Some(edge) = seen.closure.edges.get(index) else {
            continue;
        };
        let rule = policy
            .edges
            .iter()
            .position(|rule| allows(rule, seen, edge));
        if rule.is_none() {
            findings.add(code(edge), About::Edge(index), describe(policy, seen, edge));
        }
        if let Some(allowed) = seen.allowed.get_mut(index) {
            *allowed = rule;
        }
    }
}

fn code(edge: &Edge) -> Code {
    match edge {
        Edge::Memory { .. } => Code::ForbiddenMemory,
        Edge::Command { .. } => Code::ForbiddenCommand,
        Edge::Derivation { .. } => Code::ForbiddenDerivation,
        Edge::Device { .. } => Code::ForbiddenDevice,
    }
}

fn allows(rule: &EdgeRule, seen: &Seen, edge: &Edge) -> bool {
    match (rule, edge) {
        (
            EdgeRule::Memory { ends, rights, most },
            Edge::Memory {
                ends: found,
                rights: has,
                size,
            },
        ) => {
            let [a, b] = found.map(|index| end(seen, index));
            let fits = |first: usize, second: usize| {
                a == Some(ends[first])
                    && b == Some(ends[second])
                    && rights[first].contains(has[0])
                    && rights[second].contains(has[1])
            };
            size <= most && (fits(0, 1) || fits(1, 0))
        }
        (EdgeRule::Command { from, to }, Edge::Command { from: a, to: b })
        | (EdgeRule::Derivation { from, to }, Edge::Derivation { from: a, to: b, .. }) => {
            end(seen, *a) == Some(*from) && end(seen, *b) == Some(End::Rule(*to))
        }
        (
            EdgeRule::Device { device, domain },
            Edge::Device {
                device: found,
                domain: index,
            },
        ) => {
            *device == [found.vendor, found.device] && end(seen, *index) == Some(End::Rule(*domain))
        }
        _ => false,
    }
}

/// A domain's name in the policy, or its number.
fn name(policy: &Policy, seen: &Seen, index: u64) -> String {
    match end(seen, index) {
        Some(End::Zero) => "domain 0".into(),
        Some(End::Rule(rule)) => policy
            .domains
            .get(rule)
            .map_or_else(String::new, |rule| rule.name.clone()),
        None => format!("number {index}"),
    }
}

fn describe(policy: &Policy, seen: &Seen, edge: &Edge) -> String {
    let name = |index: u64| name(policy, seen, index);
    match *edge {
        Edge::Memory {
            ends: [a, b],
            rights,
            size,
        } => {
            let [left, right] = rights.map(letters);
            format!(
                "{} ({left}) and {} ({right}), {size} bytes",
                name(a),
                name(b)
            )
        }
        Edge::Command { from, to } => format!("{} commands {}", name(from), name(to)),
        Edge::Derivation { from, to, size } => {
            format!("{size} bytes of {} from {}", name(to), name(from))
        }
        Edge::Device { device, domain } => {
            format!(
                "{:04x}:{:04x} of {}",
                device.vendor,
                device.device,
                name(domain)
            )
        }
    }
}

/// Rights as people write them.
fn letters(rights: adyton_abi::region::Attributes) -> String {
    use adyton_abi::region::Attributes;
    let all = [
        (Attributes::READ, 'r'),
        (Attributes::WRITE, 'w'),
        (Attributes::EXECUTE, 'x'),
    ];
    let letter = |(bit, letter)| if rights.contains(bit) { letter } else { '-' };
    all.map(letter).into_iter().collect()
}
