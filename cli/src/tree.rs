//! `adyton tree`: domains in domains, and their memory.

use crate::Arguments;
use crate::failure::Failure;
use crate::show::{BOLD, FAINT, GREEN, YELLOW, attributes, colour, id, kind, sharing, size};
use crate::snapshot::{self, Domain};

pub fn print(arguments: &Arguments) -> Result<(), Failure> {
    let pool = arguments.pool()?;
    let claims = snapshot::take(&pool)?;
    if arguments.json {
        let values: Vec<_> = claims.iter().map(snapshot::Claim::json).collect();
        say!("{:#}", serde_json::Value::from(values));
        return Ok(());
    }
    say!("{} this Linux", colour(BOLD, "domain 0"));
    for (index, claim) in claims.iter().enumerate() {
        let last = index + 1 == claims.len();
        let (branch, below) = arms("", last);
        say!(
            "{branch}{} {}",
            colour(BOLD, &claim.owner()),
            colour(FAINT, &size(claim.claimed.record.size))
        );
        domains(&claim.domains, &below);
    }
    Ok(())
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
        domains(&domain.children, &below);
    }
}
