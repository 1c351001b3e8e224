//! A verdict for programs.

use alloc::string::String;
use alloc::vec::Vec;

use adyton_abi::region::Attributes;
use serde_json::{Value, json};

use crate::closure::Edge;
use crate::composition::{Domain, Tenant};
use crate::enclave::Enclave;
use crate::policy::Policy;
use crate::verdict::{About, Finding, Machine, Seen, Verdict};

/// Bytes in hexadecimal.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    use core::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to memory does not fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// All of a verdict.
#[must_use]
pub fn result(verdict: &Verdict, policy: &Policy) -> Value {
    let findings = verdict.findings.iter().map(finding);
    json!({
        "accepted": verdict.is_accepted(),
        "policy": policy.name,
        "findings": findings.collect::<Vec<_>>(),
        "seen": verdict.seen.as_ref().map(|seen| whole(seen, policy)),
    })
}

fn finding(finding: &Finding) -> Value {
    let about = match finding.about {
        About::Whole => Value::Null,
        About::Domain(index) => json!({ "domain": index }),
        About::Edge(index) => json!({ "edge": index }),
        About::Enclave => json!("enclave"),
    };
    json!({
        "code": finding.code.name(),
        "sentence": finding.code.sentence(),
        "about": about,
        "detail": finding.detail,
    })
}

fn whole(seen: &Seen, policy: &Policy) -> Value {
    let machine = match &seen.machine {
        Machine::Unknown => Value::Null,
        Machine::Known {
            machine,
            firmware,
            loader,
            monitor,
            boot,
        } => json!({
            "machine": machine, "firmware": firmware, "loader": loader, "monitor": monitor, "boot": boot,
        }),
    };
    let domains = seen.composition.domains.iter().zip(&seen.rules);
    let domains = domains.zip(&seen.closure.depths);
    let edges = seen.closure.edges.iter().zip(&seen.allowed);
    json!({
        "machine": machine,
        "interface": seen.monitor[0],
        "security-version": seen.monitor[1],
        "iommu": seen.protected,
        "fetched-by-owner": seen.by_owner,
        "report-data": hexadecimal(&seen.report_data),
        "key": seen.key.as_ref().map(|key| hexadecimal(key)),
        "domains": domains.map(|((domain, rule), depth)| {
            let name = rule.and_then(|rule| policy.domains.get(rule)).map(|rule| &rule.name);
            json!({ "name": name, "depth": depth, "record": record(domain) })
        }).collect::<Vec<_>>(),
        "edges": edges.map(|(edge, allowed)| {
            json!({ "allowed": allowed.is_some(), "edge": describe(edge) })
        }).collect::<Vec<_>>(),
        "enclave": seen.enclave.as_ref().map(enclave),
    })
}

fn enclave(enclave: &Enclave) -> Value {
    let separation = enclave.separation.as_ref().map(|separation| {
        json!({
            "configid": hexadecimal(&separation.configuration),
            "configsvn": separation.configuration_version,
            "isvfamilyid": hexadecimal(&separation.family),
            "isvextprodid": hexadecimal(&separation.product),
        })
    });
    json!({
        "mrenclave": hexadecimal(&enclave.measurement),
        "mrsigner": hexadecimal(&enclave.signer),
        "isvprodid": enclave.product,
        "isvsvn": enclave.version,
        "flags": enclave.flags,
        "xfrm": enclave.xfrm,
        "miscselect": enclave.miscselect,
        "cpusvn": hexadecimal(&enclave.cpusvn),
        "reportdata": hexadecimal(&enclave.data),
        "kss": separation,
    })
}

fn record(domain: &Domain) -> Value {
    match domain {
        Domain::Opaque => json!("opaque"),
        Domain::Tenant(tenant) => tenant_record(tenant),
    }
}

fn tenant_record(tenant: &Tenant) -> Value {
    let regions = tenant.regions.iter().map(|region| {
        json!({
            "address": region.place,
            "size": region.size,
            "attributes": region.attributes.word(),
            "sharing": region.sharing as u64,
            "origin": region.origin,
            "peers": region.peers.iter()
                .map(|peer| json!([peer.domain, peer.rights.word()]))
                .collect::<Vec<_>>(),
        })
    });
    json!({
        "measurement": tenant.measurement.as_ref().map(|digest| hexadecimal(digest)),
        "signer": tenant.signer.map(|signer| json!({
            "key": hexadecimal(&signer.key),
            "product": signer.product,
            "version": signer.version,
        })),
        "flags": tenant.flags.word(),
        "exceptions": tenant.exceptions,
        "vcpus": tenant.vcpus,
        "cores": tenant.cores,
        "whole-cores": tenant.whole_cores,
        "epoch": tenant.epoch,
        "still": tenant.still.word(),
        "commanders": tenant.commanders,
        "regions": regions.collect::<Vec<_>>(),
    })
}

fn describe(edge: &Edge) -> Value {
    let rights = |rights: Attributes| rights.word();
    match edge {
        Edge::Memory {
            ends,
            rights: both,
            size,
        } => json!({
            "type": "memory", "between": ends, "rights": both.map(rights), "size": size,
        }),
        Edge::Command { from, to } => json!({ "type": "command", "from": from, "to": to }),
        Edge::Derivation { from, to, size } => json!({
            "type": "derivation", "from": from, "to": to, "size": size,
        }),
        Edge::Device { device, domain } => json!({
            "type": "device", "vendor": device.vendor, "device": device.device,
            "class": device.class, "domain": domain,
        }),
    }
}
