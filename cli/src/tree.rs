//! `adyton tree`: domains in domains, and their memory.

use crate::Arguments;
use crate::failure::Failure;
use crate::show::{
    BOLD, FAINT, GREEN, YELLOW, attributes, colour, hexadecimal, id, kind, several, sharing, size,
};
use crate::snapshot::{self, Domain};
use adyton::Enclave;

pub fn print(arguments: &Arguments) -> Result<(), Failure> {
    let pool = arguments.pool()?;
    let claims = snapshot::take(&pool)?;
    if arguments.json {
        let values: Vec<_> = claims.iter().map(snapshot::Claim::json).collect();
        say!("{:#}", serde_json::Value::from(values));
        return Ok(());
    }
    let enclaves = adyton::enclaves()?;
    say!("{} this Linux", colour(BOLD, "domain 0"));
    for (index, claim) in claims.iter().enumerate() {
        let last = index + 1 == claims.len() + enclaves.len();
        let (branch, below) = arms("", last);
        say!(
            "{branch}{} {}",
            colour(BOLD, &claim.owner()),
            colour(FAINT, &size(claim.claimed.record.size))
        );
        domains(&claim.domains, &below);
    }
    for (index, enclave) in enclaves.iter().enumerate() {
        print_enclave(enclave, index + 1 == enclaves.len());
    }
    Ok(())
}

/// An enclave: its pages are nobody else's, and what it shares is the memory of the process that it is in.
fn print_enclave(enclave: &Enclave, last: bool) {
    let (branch, below) = arms("", last);
    let is_debug = enclave.attributes & Enclave::DEBUG != 0;
    let (kind, tint) = if is_debug {
        ("SGX enclave for debugging", YELLOW)
    } else {
        ("SGX enclave", GREEN)
    };
    let state = match &enclave.measurement {
        Some(digest) => hexadecimal(digest),
        None => "not initialized".to_owned(),
    };
    let name = format!("enclave {}", enclave.number);
    say!(
        "{branch}{} {} {}",
        colour(BOLD, &name),
        colour(tint, kind),
        colour(FAINT, &state)
    );
    say!(
        "{below}   {:>10} of {:<16} {}",
        size(enclave.memory),
        size(enclave.size),
        colour(GREEN, "exclusive")
    );
    say!(
        "{below}   {:>10} {:<19} {}",
        "",
        "its process",
        colour(YELLOW, "shared")
    );
}

/// The arm of a branch after `before`, and what stands before the branches below it.
fn arms(before: &str, last: bool) -> (String, String) {
    let (arm, rest) = if last {
        ("└─ ", "   ")
    } else {
        ("├─ ", "│  ")
    };
    (format!("{before}{arm}"), format!("{before}{rest}"))
}

fn domains(all: &[Domain], before: &str) {
    for (index, domain) in all.iter().enumerate() {
        let (branch, below) = arms(before, index + 1 == all.len());
        let flags = domain.record.flags;
        let state = if domain.is_sealed() {
            ""
        } else {
            " (not sealed)"
        };
        say!(
            "{branch}{} {}{state}",
            colour(BOLD, &id(domain.record.id)),
            colour(
                if kind(flags) == "confidential" {
                    GREEN
                } else {
                    YELLOW
                },
                kind(flags)
            ),
        );
        let trunk = if domain.children.is_empty() {
            "   "
        } else {
            "│  "
        };
        for region in &domain.regions {
            let place = format!("{:#x}", region.place);
            let rights = attributes(region.attributes);
            let who = sharing(region.sharing);
            let who = colour(if who == "shared" { YELLOW } else { GREEN }, who);
            say!(
                "{below}{trunk}{:>10} at {place:<12} {who} {}",
                size(region.size),
                colour(FAINT, &rights)
            );
        }
        for core in &domain.whole_cores {
            let name = format!("core {}", core.first);
            let (who, tint) = if core.usable {
                ("its own", GREEN)
            } else {
                ("lent", YELLOW)
            };
            say!(
                "{below}{trunk}{name:>10} {:<15} {} {}",
                "as a whole",
                colour(tint, who),
                colour(FAINT, &several(core.threads, "thread"))
            );
        }
        domains(&domain.children, &below);
    }
}
