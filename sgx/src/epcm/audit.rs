//! Whether the entries of the EPCM agree with each other and with the pages, while everything is at rest: for tests, and for a monitor that is one.

use super::{Attributes, EpcPage, EpcmEntry, PageType};
use crate::structures::SecsHead;

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Violation {
    /// Somebody has a claim on it, although nobody works on it.
    Claimed = 1,
    /// It has rights that no page of its type has, or can be written and not read.
    Rights = 2,
    /// It is in states that no page of its type is in, or not at the same time.
    States = 3,
    /// Its SECS is none.
    Orphaned = 4,
    /// Its address is not one of its enclave's, or it has one and belongs to none.
    Misplaced = 5,
    /// It is a SECS and counts other pages than belong to it.
    Children = 6,
    /// It is a SECS, and more of its thread control structures are in use than threads are inside.
    Threads = 7,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Pages in use.
    pub valid: u64,
    /// SECSs.
    pub enclaves: u64,
    /// Threads inside.
    pub threads: u64,
}

/// Looks at all entries; `load` copies bytes out of a page, from an offset on.
///
/// # Errors
/// The first page that is wrong, and how.
pub fn audit(
    entries: &[EpcmEntry],
    mut load: impl FnMut(EpcPage, usize, &mut [u8]),
) -> Result<Census, (EpcPage, Violation)> {
    let mut census = Census::default();
    for (entry, number) in entries.iter().zip(0..) {
        let page = EpcPage(number);
        let attributes = entry.attributes();
        let wrong = |violation| (page, violation);
        if !entry.is_unclaimed() {
            return Err(wrong(Violation::Claimed));
        }
        if !attributes.valid {
            continue;
        }
        census.valid += 1;
        check_flags(attributes).map_err(wrong)?;
        if attributes.kind.is_child() {
            check_place(entries, attributes, entry.address(), &mut load).map_err(wrong)?;
        } else if entry.address() != 0 {
            return Err(wrong(Violation::Misplaced));
        }
        if attributes.kind == PageType::Secs {
            census.enclaves += 1;
            census.threads += entry.tracking().threads();
            check_children(entries, page, entry, &mut load).map_err(wrong)?;
        }
    }
    Ok(census)
}

fn check_flags(attributes: Attributes) -> Result<(), Violation> {
    let Attributes {
        read,
        write,
        execute,
        kind,
        ..
    } = attributes;
    let any = read || write || execute;
    if any && kind != PageType::Reg || write && !read {
        return Err(Violation::Rights);
    }
    let waits = attributes.pending || attributes.modified || attributes.restricted;
    let cannot = !kind.is_child() && (waits || attributes.blocked);
    if cannot || attributes.pending && attributes.modified {
        return Err(Violation::States);
    }
    Ok(())
}

/// A page of an enclave: its SECS is one, and its address lies in ELRANGE.
fn check_place(
    entries: &[EpcmEntry],
    attributes: Attributes,
    address: u64,
    load: &mut impl FnMut(EpcPage, usize, &mut [u8]),
) -> Result<(), Violation> {
    let parent = entries.get(attributes.secs.0 as usize);
    if !parent.is_some_and(|parent| parent.attributes().is(PageType::Secs)) {
        return Err(Violation::Orphaned);
    }
    let mut secs = SecsHead::zeroed();
    load(attributes.secs, 0, &mut secs.0);
    let offset = address.wrapping_sub(secs.baseaddr());
    if offset < secs.size() && offset.is_multiple_of(4096) {
        Ok(())
    } else {
        Err(Violation::Misplaced)
    }
}

fn check_children(
    entries: &[EpcmEntry],
    page: EpcPage,
    entry: &EpcmEntry,
    load: &mut impl FnMut(EpcPage, usize, &mut [u8]),
) -> Result<(), Violation> {
    let (mut children, mut entered) = (0, 0);
    for (child, number) in entries.iter().zip(0..) {
        let attributes = child.attributes();
        if !attributes.valid || !attributes.kind.is_child() || attributes.secs != page {
            continue;
        }
        children += 1;
        if attributes.kind == PageType::Tcs && !attributes.modified {
            // TCS.STATE (SDM, chapter 35).
            let mut state = [0; 8];
            load(EpcPage(number), 0, &mut state);
            entered += u64::from(state[0] & 1);
        }
    }
    if entry.children() != children {
        return Err(Violation::Children);
    }
    if entered > entry.tracking().threads() {
        return Err(Violation::Threads);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    const SECS: EpcPage = EpcPage(0);
    const BASE: u64 = 0x10_0000;
    const SIZE: u64 = 0x1_0000;

    /// A SECS, a TCS and a regular page of its, an array of versions, a free page.
    fn entries() -> Vec<EpcmEntry> {
        let entries: Vec<EpcmEntry> = (0..5).map(|_| EpcmEntry::default()).collect();
        let regular = Attributes {
            read: true,
            write: true,
            ..Attributes::of(PageType::Reg, SECS)
        };
        entries[0].occupy(Attributes::of(PageType::Secs, SECS), 0);
        entries[1].occupy(Attributes::of(PageType::Tcs, SECS), BASE);
        entries[2].occupy(regular, BASE + 0x1000);
        entries[3].occupy(Attributes::of(PageType::Va, SECS), 0);
        entries[0].count_child();
        entries[0].count_child();
        entries
    }

    /// Audits them with this TCS.STATE.
    fn look(entries: &[EpcmEntry], state: u8) -> Result<Census, (u32, Violation)> {
        let load = |page: EpcPage, offset: usize, bytes: &mut [u8]| {
            let mut contents = [0; 4096];
            match page {
                SECS => {
                    contents[..8].copy_from_slice(&SIZE.to_le_bytes());
                    contents[8..16].copy_from_slice(&BASE.to_le_bytes());
                }
                _ => contents[0] = state,
            }
            bytes.copy_from_slice(&contents[offset..offset + bytes.len()]);
        };
        audit(entries, load).map_err(|(page, violation)| (page.0, violation))
    }

    #[test]
    fn what_is_in_order_is_counted() {
        let entries = entries();
        let census = |threads| Census {
            valid: 4,
            enclaves: 1,
            threads,
        };
        assert_eq!(look(&entries, 0), Ok(census(0)));
        assert_eq!(entries[0].tracking().enter(), Some(1));
        assert_eq!(look(&entries, 1), Ok(census(1)));
    }

    #[test]
    fn each_disorder_is_found() {
        use Violation::*;
        type Change = fn(&mut Attributes);
        let changes: [(usize, Change, u32, Violation); 9] = [
            (1, |tcs| tcs.read = true, 1, Rights),
            (2, |page| page.read = false, 2, Rights),
            (2, |page| page.pending = true, 2, States),
            (3, |versions| versions.blocked = true, 3, States),
            (0, |secs| secs.restricted = true, 0, States),
            (2, |page| page.secs = EpcPage(3), 0, Children),
            (4, |free| free.valid = true, 4, Children),
            (2, |page| page.valid = false, 0, Children),
            (0, |secs| secs.valid = false, 1, Orphaned),
        ];
        for (number, change, found, violation) in changes {
            let entries = entries();
            entries[2].change(|page| page.modified = violation == States);
            entries[number].change(change);
            if violation == Children && found == 4 {
                entries[4].occupy(Attributes::of(PageType::Secs, SECS), 0);
                entries[4].count_child();
            }
            assert_eq!(look(&entries, 0), Err((found, violation)), "{number}");
        }
    }

    #[test]
    fn addresses_claims_and_threads_are_looked_at() {
        for (number, address) in [(2, BASE + SIZE), (2, BASE - 1), (2, BASE + 8), (3, BASE)] {
            let entries = entries();
            let attributes = entries[number].attributes();
            entries[number].occupy(attributes, address);
            let found = look(&entries, 0);
            assert_eq!(found, Err((number as u32, Violation::Misplaced)));
        }
        let entries = entries();
        assert_eq!(look(&entries, 1), Err((0, Violation::Threads)));
        let claim = entries[4].share();
        assert!(claim.is_some());
        assert_eq!(look(&entries, 0), Err((4, Violation::Claimed)));
        drop(claim);
        assert!(look(&entries, 0).is_ok());
    }
}
