//! `adyton inspect`: everything that may be known about one domain without its key.

use adyton::listing::Account;

use crate::Arguments;
use crate::failure::Failure;
use crate::show::{
    BOLD, abilities, attributes, colour, hexadecimal, id, kind, several, sharing, size, state,
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
        say!("{:#}", domain.json());
        return Ok(());
    }
    let record = &domain.record;
    say!("{} {}", colour(BOLD, &id(record.id)), kind(record.flags));
    say!("  state        {}", state(record.state));
    let digest = domain
        .measurement
        .as_ref()
        .map(|digest| hexadecimal(digest));
    say!(
        "  measurement  {}",
        digest.unwrap_or_else(|| "none before it is sealed".into())
    );
    let may = abilities(record.flags).join(", ");
    say!(
        "  may          {}",
        if may.is_empty() {
            "nothing but exit"
        } else {
            &may
        }
    );
    say!("  vCPUs        {}", record.vcpus);
    let cores = domain
        .cores
        .iter()
        .map(|(first, count)| format!("{first} to {}", first + count - 1));
    let cores = cores.collect::<Vec<_>>().join(", ");
    say!(
        "  cores        {}",
        if cores.is_empty() {
            "none that others use"
        } else {
            &cores
        }
    );
    for core in &domain.whole_cores {
        let lent = if core.usable { "" } else { ", lent" };
        say!(
            "  whole core   {}, {}{lent}",
            core.first,
            several(core.threads, "thread")
        );
    }
    say!(
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
        say!("  bookkeeping  {used} of {limit} pages used, {passed} passed on");
        say!("  entries      {}", account.entries);
    }
    say!("  memory");
    for region in &domain.regions {
        let rights = attributes(region.attributes);
        say!(
            "    {:>10} at {:<12x} {} {rights}",
            size(region.size),
            region.place,
            sharing(region.sharing)
        );
    }
    say!("  children     {}", domain.children.len());
    Ok(())
}
