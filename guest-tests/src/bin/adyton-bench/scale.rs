//! Thousands of domains: whether calls cost more among many than among few, what a domain and a region take of the monitor's
//! memory, and how long the monitor holds a core when a branch of a thousand domains is taken back.

use adyton::abi::call::Call;
use adyton::{Attributes, Flags, READ_WRITE};
use adyton_guest_tests::fixture::{pool, run_with};
use anyhow::{Result, ensure};

use crate::meter::{
    ENTRY, Meter, PAGE, median, now, report, report_instructions, report_longest_call,
    reserve_in_use,
};

/// How many domains the small measurement has around it.
const FEW: u64 = 100;
/// Domains of the branch that is taken back while the others stay.
const BRANCH: u64 = 1000;
/// Regions of each domain, every second one carved, the others shared.
const REGIONS: u64 = 10;
/// Pages of the claim for each domain: control page, exit page, regions, and some that stay free.
const STRIDE: u64 = 16 * PAGE;
/// The first of the free pages, where what is measured happens.
const FREE: u64 = (2 + REGIONS) * PAGE;
/// Pages of monitor memory for each domain: record, context, tables, vCPU.
const QUOTA: u64 = 8;
/// Room for a domain of the measurements' own, before the others.
const ROOM: u64 = 2 << 20;
/// Each call is measured so often, each time among other neighbours.
const SAMPLES: u64 = 101;

/// What one domain and its regions took of the monitor's memory.
#[derive(Default)]
struct Taken {
    domains: u64,
    regions: u64,
}

/// Builds `count` sealed domains, measures on the way and at the end, and takes all of it back.
pub fn scale(count: u64) -> Result<()> {
    let mut meter = Meter::new(pool()?.claim(ROOM + count * STRIDE)?);
    // What is measured happens to this one, which is being composed all the time.
    meter.create(0, QUOTA + 4 * SAMPLES)?;
    let mut taken = Taken::default();
    let few = populate(&mut meter, 0..FEW, &mut taken).and_then(|()| costs(&mut meter, FEW))?;
    populate(&mut meter, FEW..count, &mut taken)?;
    let many = costs(&mut meter, count)?;
    for (&(name, before), (_, after)) in few.iter().zip(&many) {
        report_instructions(&format!("{name}-at-{FEW}-domains"), before);
        report_instructions(&format!("{name}-at-{count}-domains"), *after);
        let growth = *after as f64 / before as f64;
        println!("ADYTON-BENCH {name}-growth {growth:.2} times");
    }
    report("domains", count, "domains");
    report("regions", count * REGIONS, "regions");
    report("memory-per-domain", taken.domains / count, "bytes");
    report(
        "memory-per-region",
        taken.regions / (count * (REGIONS - 1)),
        "bytes",
    );
    branch()?;
    let begin = now();
    drop(meter);
    report_instructions("release-per-domain", (now() - begin) / count);
    report_longest_call()
}

/// Builds and seals domains with a vCPU and their regions.
fn populate(meter: &mut Meter, numbers: std::ops::Range<u64>, taken: &mut Taken) -> Result<()> {
    for number in numbers {
        let at = ROOM + number * STRIDE;
        let begin = reserve_in_use(meter.place())?;
        meter.create(at, QUOTA)?;
        give(meter, at, 0)?;
        let between = reserve_in_use(meter.place())?;
        for region in 1..REGIONS {
            give(meter, at, region)?;
        }
        taken.domains += between - begin;
        taken.regions += reserve_in_use(meter.place())?.saturating_sub(between);
        meter.call(Call::Seal, at, [0; 5])?;
    }
    Ok(())
}

/// Gives the domain at `at` its region of this number.
fn give(meter: &mut Meter, at: u64, region: u64) -> Result<()> {
    let call = if region.is_multiple_of(2) {
        Call::Carve
    } else {
        Call::Share
    };
    let from = meter.address(at + (2 + region) * PAGE);
    let place = ENTRY + region * PAGE;
    meter.call(call, at, [from, PAGE, place, READ_WRITE.word(), 0])?;
    Ok(())
}

/// Measures each call with `count` domains around it, next to ever others of them.
fn costs(meter: &mut Meter, count: u64) -> Result<Vec<(&'static str, u64)>> {
    let names = [
        "carve",
        "share",
        "grant",
        "revoke-carve",
        "revoke-share",
        "create",
        "destroy",
    ];
    let mut samples = names.map(|name| (name, Vec::new()));
    for sample in 0..SAMPLES {
        // A step that meets every number before any again.
        let number = sample * 7919 % count;
        let at = ROOM + number * STRIDE + FREE;
        let taken = once(meter, at, ENTRY + sample * 2 * PAGE)?;
        for ((_, values), ticks) in samples.iter_mut().zip(taken) {
            values.push(ticks);
        }
    }
    Ok(samples.map(|(name, values)| (name, median(values))).into())
}

/// Each call once, about the free pages at `at`; in the order of the names.
fn once(meter: &mut Meter, at: u64, place: u64) -> Result<[u64; 7]> {
    let from = meter.address(at);
    let derive = |meter: &mut Meter, call, attributes: Attributes| {
        meter.call(call, 0, [from, PAGE, place, attributes.word(), 0])
    };
    let revoke = |meter: &mut Meter, region| meter.call(Call::Revoke, 0, [region, 0, 0, 0, 0]);
    let (carve, region) = derive(meter, Call::Carve, READ_WRITE)?;
    let (revoke_carve, _) = revoke(meter, region)?;
    let (share, region) = derive(meter, Call::Share, READ_WRITE)?;
    let (revoke_share, _) = revoke(meter, region)?;
    let (_, region) = derive(meter, Call::Carve, READ_WRITE | Attributes::NOBODY)?;
    let target = meter.address(0);
    let (grant, granted) = meter.call(Call::Grant, 0, [region, target, place, 0, 0])?;
    ensure!(granted == region, "a grant gave another region");
    revoke(meter, region)?;
    let create = meter.create(at, QUOTA)?;
    let (destroy, _) = meter.call(Call::Destroy, at, [0; 5])?;
    Ok([
        carve,
        share,
        grant,
        revoke_carve,
        revoke_share,
        create,
        destroy,
    ])
}

/// A domain with a thousand children of its own, taken back by one call while all others live.
fn branch() -> Result<()> {
    let children = BRANCH.to_string();
    let mut parent = run_with(
        "brood",
        &[&children],
        Flags::CONFIDENTIAL | Flags::MAY_COMPOSE,
        |program| {
            program.heap = 1 << 20;
            program.pool = (BRANCH + 1) * STRIDE;
            program.quota = Some(BRANCH * (QUOTA + 2));
        },
    )?;
    let [_, made, ..] = parent.words()?;
    ensure!(made == BRANCH, "{made} children of {BRANCH}");
    let begin = now();
    parent.domain().destroy()?;
    report_instructions(&format!("revoke-branch-of-{BRANCH}"), now() - begin);
    Ok(())
}
