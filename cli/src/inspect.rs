//! `adyton inspect`: everything that may be known about one domain without its key.

use adyton::listing::Account;

use crate::Arguments;
use crate::failure::Failure;
use crate::show::{
    BOLD, abilities, attributes, colour, hexadecimal, id, kind, sharing, size, state,
};
use crate::snapshot::{self, Domain};

pub fn print(arguments: &Arguments, wanted: &str) -> Result<(), Failure> {
    let claims = snapshot::take(&arguments.pool()?)?;
    let all = claims
        .iter()
        .flat_map(|claim| &claim.domains)
        .flat_map(Domain::all);
    let mut found = all.filter(|domain| id(domain.record.id) == wanted);
    let domain = found
        .next()
        .ok_or_else(|| Failure::NoTarget(wanted.into()))?;
    if arguments.json {
        println!("{:#}", domain.json());
        return Ok(());
    }
    let record = &domain.record;
    println!("{} {}", colour(BOLD, &id(record.id)), kind(record.flags));
    println!("  state        {}", state(record.state));
    let digest = domain
        .measurement
        .as_ref()
        .map(|digest| hexadecimal(digest));
    println!(
        "  measurement  {}",
        digest.unwrap_or_else(|| "none before it is sealed".into())
    );
    let may = abilities(record.flags).join(", ");
    println!(
        "  may          {}",
        if may.is_empty() {
            "nothing but exit"
        } else {
            &may
        }
    );
    println!("  vCPUs        {}", record.vcpus);
    let cores = domain
        .cores
        .iter()
        .map(|(first, count)| format!("{first} to {}", first + count - 1));
    println!("  cores        {}", cores.collect::<Vec<_>>().join(", "));
    println!(
        "  epoch        {} (raised by each offer that it accepted)",
        record.epoch
    );
    if let Some(account) = &domain.account {
        let Account {
            limit,
            used,
            passed,
            ..
        } = account;
        println!("  bookkeeping  {used} of {limit} pages used, {passed} passed on");
        println!("  entries      {}", account.entries);
    }
    println!("  memory");
    for region in &domain.regions {
        let rights = attributes(region.attributes);
        println!(
            "    {:>10} at {:<12x} {} {rights}",
            size(region.size),
            region.place,
            sharing(region.sharing)
        );
    }
    println!("  children     {}", domain.children.len());
    Ok(())
}
