use std::fmt::Write;

use super::*;

const BOTH: [Domain; 2] = [Domain::Zero, Domain::Child];

#[test]
fn tables_are_in_order() {
    for domain in BOTH {
        for entry in domain.table() {
            assert!(entry.first <= entry.last, "{entry:?}");
        }
        for pair in domain.table().windows(2) {
            assert!(pair[0].last < pair[1].first, "{pair:?}");
        }
    }
}

#[test]
fn what_is_not_named_is_denied() {
    for register in [
        0x02,
        0x11,
        0x83a,
        0xfff,
        0x4000_0000,
        0x4b56_4d00,
        0xc000_0082 - 0x1000,
        u32::MAX,
    ] {
        for write in [false, true] {
            assert_eq!(
                verdict(Domain::Zero, register, write),
                Verdict::Deny,
                "{register:#x}"
            );
        }
    }
}

#[test]
fn known_verdicts() {
    use Verdict::{Deny, Filter as Look, PassThrough};
    let zero = |register, write| verdict(Domain::Zero, register, write);
    assert_eq!(zero(0xc000_0080, true), Look(Filter::Efer));
    assert_eq!(zero(0x830, true), Look(Filter::InterruptCommand));
    assert_eq!(zero(0x830, false), PassThrough);
    assert_eq!(zero(0x80b, true), PassThrough);
    assert_eq!(zero(0x201, true), Look(Filter::Ignored));
    assert_eq!(zero(0xc000_0102, true), PassThrough);
    for register in [
        0xc001_0016,
        0xc001_001a,
        0xc001_0010,
        0xc001_0058,
        0xc001_0111,
        0xc001_0114,
        0xc001_0117,
        0xc001_0020,
    ] {
        assert_eq!(zero(register, true), Deny, "{register:#x}");
    }
    assert_eq!(verdict(Domain::Child, 0xc000_0082, true), PassThrough);
    assert_eq!(verdict(Domain::Child, 0x1b, false), Deny);
    assert_eq!(verdict(Domain::Child, 0xc000_0103, false), Deny);
}

/// Reads the map as APM volume 2, section 15.11, tells the CPU to.
fn exits(map: &[u8; MSR_MAP_SIZE], register: u32, write: bool) -> bool {
    let (offset, number) = match register {
        0..=0x1fff => (0, register),
        0xc000_0000..=0xc000_1fff => (0x800, register - 0xc000_0000),
        0xc001_0000..=0xc001_1fff => (0x1000, register - 0xc001_0000),
        _ => return true,
    };
    let bit = number * 2 + u32::from(write);
    map[offset + bit as usize / 8] >> (bit % 8) & 1 == 1
}

#[test]
fn the_map_lets_through_exactly_what_passes() {
    for domain in BOTH {
        let mut map = [0; MSR_MAP_SIZE];
        fill_permission_map(&mut map, domain);
        for register in [0, 0xc000_0000, 0xc001_0000]
            .into_iter()
            .flat_map(|first| first..first + 0x3000)
        {
            for write in [false, true] {
                let passes = verdict(domain, register, write) == Verdict::PassThrough;
                assert_eq!(exits(&map, register, write), !passes, "{register:#x}");
            }
        }
    }
}

fn print(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::PassThrough => "passes",
        Verdict::Deny => "#GP",
        Verdict::Filter(Filter::Efer | Filter::ApicBase | Filter::InterruptCommand) => "filtered",
        Verdict::Filter(Filter::LocalVector) => "not SMI, INIT",
        Verdict::Filter(Filter::OnlyZero) => "only zero",
        Verdict::Filter(Filter::Ignored) => "no effect",
        Verdict::Filter(Filter::FeatureControl) => "as fused",
        Verdict::Filter(Filter::LaunchKey) => "kept",
    }
}

fn markdown() -> String {
    let mut page = String::from(
        "# Model-specific registers\n\n\
         What a domain may do with the processor's model-specific registers. Whatever is not listed raises #GP, as a\n\
         register does that does not exist. \"Passes\" means that the domain does it itself; \"no effect\" that a write is\n\
         accepted and changes nothing; \"kept\" and \"as fused\": a copy of the monitor's, where there is an EPC, else #GP.\n\n\
         Printed from `monitor/src/policy/msr/` by `UPDATE_DOCS=1 cargo test -p adyton-monitor --lib msr`; a test compares.\n",
    );
    for (domain, title) in BOTH.into_iter().zip(["Domain 0", "Any other domain"]) {
        write!(page, "\n## {title}\n\n| register | name | read | write | why |\n| --- | --- | --- | --- | --- |\n").unwrap();
        for entry in domain.table() {
            write!(page, "| `{:X}`", entry.first).unwrap();
            if entry.last != entry.first {
                write!(page, "-`{:X}`", entry.last).unwrap();
            }
            let (read, write) = (print(entry.read), print(entry.write));
            writeln!(
                page,
                " | {} | {read} | {write} | {} |",
                entry.name, entry.reason
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/msr.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == markdown(),
        "docs/msr.md is not what the tables say: run this test with UPDATE_DOCS=1"
    );
}
