//! `adyton ls`: a line for each claim, and one for each domain in it.

use crate::Arguments;
use crate::failure::Failure;
use crate::show::{BOLD, FAINT, YELLOW, colour, id, kind, short, size, state};
use crate::snapshot::{self, Domain};

pub fn print(arguments: &Arguments) -> Result<(), Failure> {
    let claims = snapshot::take(&arguments.pool()?)?;
    if arguments.json {
        let values: Vec<_> = claims.iter().map(snapshot::Claim::json).collect();
        say!("{:#}", serde_json::Value::from(values));
        return Ok(());
    }
    if claims.is_empty() {
        say!("No claims: the whole pool is free.");
    }
    for claim in &claims {
        let claimed = &claim.claimed;
        let heading = format!("claim {:#x}", claimed.offset);
        let orphan = if claimed.alive {
            ""
        } else {
            "  its owner is gone: adyton gc"
        };
        say!(
            "{}  {}  by {}{}",
            colour(BOLD, &heading),
            size(claimed.record.size),
            claim.owner(),
            colour(YELLOW, orphan)
        );
        claim.domains.iter().flat_map(Domain::all).for_each(line);
    }
    Ok(())
}

fn line(domain: &Domain) {
    let (exclusive, shared, pool) = domain.memory();
    let memory = [(exclusive, "exclusive"), (shared, "shared"), (pool, "pool")];
    let memory = memory.iter().filter(|(bytes, _)| *bytes != 0);
    let memory: Vec<_> = memory
        .map(|(bytes, what)| format!("{} {what}", size(*bytes)))
        .collect();
    let measured = domain.measurement.as_ref().map_or(String::new(), short);
    say!(
        "  {:<12} {:<12} {:<8} {}  {}",
        id(domain.record.id),
        kind(domain.record.flags),
        state(domain.record.state),
        memory.join(", "),
        colour(FAINT, &measured)
    );
}
