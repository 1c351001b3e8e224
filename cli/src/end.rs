//! `adyton kill` and `adyton gc`: ending claims.

use adyton::Claimed;
use serde_json::json;

use crate::Arguments;
use crate::failure::Failure;
use crate::show::{id, size};
use crate::snapshot::{self, Domain};

pub fn kill(arguments: &Arguments, target: &str) -> Result<(), Failure> {
    let pool = arguments.pool()?;
    let claims = snapshot::take(&pool)?;
    let named = |claim: &&snapshot::Claim| {
        let offset = format!("{:#x}", claim.claimed.offset);
        let mut domains = claim.domains.iter().flat_map(Domain::all);
        offset == target || domains.any(|domain| id(domain.record.id) == target)
    };
    let claim = claims
        .iter()
        .find(named)
        .ok_or_else(|| Failure::NoTarget(target.into()))?;
    pool.release(&claim.claimed)?;
    report(arguments, std::slice::from_ref(&claim.claimed));
    Ok(())
}

pub fn collect(arguments: &Arguments) -> Result<(), Failure> {
    let collected = arguments.pool()?.collect()?;
    report(arguments, &collected);
    Ok(())
}

fn report(arguments: &Arguments, ended: &[Claimed]) {
    if arguments.json {
        let one = |claim: &Claimed| json!({ "offset": claim.offset, "size": claim.record.size });
        let values: Vec<_> = ended.iter().map(one).collect();
        say!("{:#}", json!({ "released": values }));
        return;
    }
    for claim in ended {
        let (memory, count) = (size(claim.record.size), claim.record.domains);
        say!(
            "released claim {:#x}: {memory}, {count} domains",
            claim.offset
        );
    }
    if ended.is_empty() {
        say!("nothing to release");
    }
}
