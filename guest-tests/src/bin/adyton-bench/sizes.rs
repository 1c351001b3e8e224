//! What it costs to build, seal and take back a domain, and to carve, share and revoke, by size.

use std::hint::black_box;

use adyton::abi::call::Call;
use adyton::abi::error::Error;
use adyton::{Attributes, Flags, READ_WRITE};
use adyton_guest_tests::fixture::pool;
use adyton_guest_tests::raw;
use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::meter::{
    ENTRY, Meter, PAGE, flushes, now, report, report_instructions, report_longest_call,
    reserve_in_use,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Room for control and exit pages before the memory that is carved, which begins at a large page.
const ROOM: u64 = 2 * MIB;

/// Pages of monitor memory for a domain that gets so many bytes.
const fn quota(size: u64) -> u64 {
    16 + size / (2 * MIB)
}

/// Builds, seals and destroys domains of several sizes, and compares their hashing with that of a program.
pub fn building() -> Result<()> {
    for (name, size, rounds) in [
        ("8-kib", 8 * KIB, 20),
        ("1-mib", MIB, 4),
        ("64-mib", 64 * MIB, 1),
    ] {
        let mut meter = Meter::new(pool()?.claim(ROOM + size)?);
        let mut fewest = [u64::MAX; 3];
        for _ in 0..rounds {
            let measured = build(&mut meter, size, READ_WRITE | Attributes::MEASURED)?;
            fewest = smaller(fewest, measured);
        }
        let unmeasured = build(&mut meter, size, READ_WRITE)?;
        let [create, seal, destroy] = fewest;
        let per_kib = |ticks: u64| ticks * KIB / size;
        let report = |what: &str, ticks| {
            report(
                &format!("{what}-{name}"),
                per_kib(ticks),
                "instructions/KiB",
            );
        };
        report("create-seal-destroy", create + seal + destroy);
        report("seal", seal);
        report("seal-hashing", seal.saturating_sub(unmeasured[1]));
        report("program-hashing", hash(size, rounds));
        report("destroy", destroy);
    }
    report_longest_call()
}

/// How long creating with memory, sealing and destroying take.
fn build(meter: &mut Meter, size: u64, attributes: Attributes) -> Result<[u64; 3]> {
    let create = meter.create(0, quota(size))?;
    let from = meter.address(ROOM);
    let place = [from, size, ENTRY, attributes.word(), 0];
    let (carve, _) = meter.call(Call::Carve, 0, place)?;
    let (seal, _) = meter.call(Call::Seal, 0, [0; 5])?;
    let (destroy, _) = meter.call(Call::Destroy, 0, [0; 5])?;
    Ok([create + carve, seal, destroy])
}

fn smaller<const COUNT: usize>(left: [u64; COUNT], right: [u64; COUNT]) -> [u64; COUNT] {
    std::array::from_fn(|index| left[index].min(right[index]))
}

/// Fewest ticks that this program takes for the digest of so many bytes.
fn hash(size: u64, rounds: u32) -> u64 {
    let bytes = vec![1_u8; size as usize];
    let once = |_| {
        let begin = now();
        black_box(Sha256::digest(black_box(&bytes)));
        now() - begin
    };
    (0..rounds).map(once).min().unwrap_or(0)
}

/// Carves, shares and revokes ranges of several sizes.
pub fn ranges() -> Result<()> {
    let mut meter = Meter::new(pool()?.claim(ROOM + GIB)?);
    meter.create_with(0, quota(GIB), Flags::NONE)?;
    for (name, size, rounds) in [
        ("4-kib", PAGE, 50),
        ("2-mib", 2 * MIB, 20),
        ("1-gib", GIB, 2),
    ] {
        for (what, call, attributes) in [
            ("share", Call::Share, READ_WRITE),
            ("carve", Call::Carve, READ_WRITE),
            (
                "carve-and-zero",
                Call::Carve,
                READ_WRITE | Attributes::CLEAN,
            ),
        ] {
            let mut fewest = [u64::MAX; 2];
            for _ in 0..rounds {
                fewest = smaller(fewest, there_and_back(&mut meter, call, size, attributes)?);
            }
            if what != "carve-and-zero" {
                report_instructions(&format!("{what}-{name}"), fewest[0]);
            }
            report_instructions(&format!("revoke-{what}-{name}"), fewest[1]);
        }
        tables(&mut meter, name, size)?;
    }
    count_flushes(&mut meter)?;
    report_longest_call()
}

fn there_and_back(
    meter: &mut Meter,
    call: Call,
    size: u64,
    attributes: Attributes,
) -> Result<[u64; 2]> {
    let from = meter.address(ROOM);
    let (there, region) = meter.call(call, 0, [from, size, ENTRY, attributes.word(), 0])?;
    let (back, _) = meter.call(Call::Revoke, 0, [region, 0, 0, 0, 0])?;
    Ok([there, back])
}

/// What the page tables of a domain take for one range: where it lies as large pages do, and where nothing fits.
fn tables(meter: &mut Meter, name: &str, size: u64) -> Result<()> {
    for (what, place) in [("tables", GIB), ("tables-unaligned", GIB + PAGE)] {
        let before = reserve_in_use(meter.place())?;
        let from = meter.address(ROOM);
        let words = [from, size, place, READ_WRITE.word(), 0];
        let (_, region) = meter.call(Call::Share, 0, words)?;
        let after = reserve_in_use(meter.place())?;
        meter.call(Call::Revoke, 0, [region, 0, 0, 0, 0])?;
        report(
            &format!("{what}-{name}"),
            after.saturating_sub(before),
            "bytes",
        );
    }
    Ok(())
}

/// How many flushes a call begins, whatever the size.
fn count_flushes(meter: &mut Meter) -> Result<()> {
    let from = meter.address(ROOM);
    for (what, call) in [("share", Call::Share), ("carve", Call::Carve)] {
        let before = flushes(meter.place())?;
        let words = [from, 2 * MIB, ENTRY, READ_WRITE.word(), 0];
        let (_, region) = meter.call(call, 0, words)?;
        let between = flushes(meter.place())?;
        meter.call(Call::Revoke, 0, [region, 0, 0, 0, 0])?;
        let after = flushes(meter.place())?;
        report(&format!("flushes-{what}"), between - before, "flushes");
        report(
            &format!("flushes-revoke-{what}"),
            after - between,
            "flushes",
        );
    }
    Ok(())
}

/// Names a range whose pages have other rights each than the one before, so that none follows from its neighbour: few of them
/// are taken, many are refused, and neither holds the core for long.
pub fn ragged() -> Result<()> {
    const LARGE: u64 = 2 * MIB;
    const MANY: u64 = 220;
    let mut meter = Meter::new(pool()?.claim(ROOM + MANY * LARGE)?);
    meter.create_with(0, quota(MANY * LARGE), Flags::NONE)?;
    let from = meter.address(ROOM);
    for page in (0..MANY).step_by(2) {
        raw::allow_execution(from + page * LARGE, LARGE)?;
    }
    // Each page is touched, so that the caller's tables have it.
    for page in 0..MANY {
        raw::store(from + page * LARGE, page);
    }
    let words = |pages: u64| [from, pages * LARGE, ENTRY, READ_WRITE.word(), 0];
    let (_, region) = meter.call(Call::Share, 0, words(16))?;
    meter.call(Call::Revoke, 0, [region, 0, 0, 0, 0])?;
    match meter.call(Call::Share, 0, words(MANY)) {
        Err(error) if error.to_string().contains(Error::TooLarge.message()) => {}
        Err(error) => return Err(error),
        Ok(_) => println!("a ragged range of {MANY} pages was taken"),
    }
    report_longest_call()
}
