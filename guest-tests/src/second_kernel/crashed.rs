//! What the kernel finds that is started when the first one panics: the dump that it would save, and all other memory.
//!
//! The first kernel has set memory aside for it and left word of the rest, which is the dump, `/proc/vmcore`. What the first knew of
//! memory lies in a file, since the second is told of its own only.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::os::fd::OwnedFd;

use adyton::Monitor;
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use super::{Found, LOOK, PAGE, Piece, pieces, search_core, search_used};
use crate::fixture::audit;
use crate::kernel_attack::{range, used_ranges};
use crate::{machine, raw};

/// Where the first kernel's `/proc/iomem` is.
const MEMORY_MAP: &str = "/adyton/memory-map";

/// The domain's secret is neither in the dump nor anywhere else; the pattern is found in both.
pub(super) fn searches() -> Result<()> {
    let claimed = Monitor::ask()?.claimed;
    ensure!(claimed > 0, "the domain is gone");
    let core = File::open("/proc/vmcore").context("/proc/vmcore")?;
    let pieces = pieces(&core)?;
    let dumped = whole_pages(&pieces);
    let mut dump = Found::default();
    for range in &dumped {
        search_core(&core, &pieces, range.clone(), &mut dump).context("the dump")?;
    }
    let own = search_used()?;
    let (others, closed) = search_between(&known(dumped)?)?;
    println!("in the dump {dump:?}, in this kernel's memory {own:?}");
    println!("elsewhere {others:?}, and {closed} pages that do not open");
    ensure!(
        dump.open > 0 && others.open > 0,
        "the control was not found"
    );
    ensure!(closed > 0, "nothing is a domain's");
    ensure!(
        dump.secret + own.secret + others.secret == 0,
        "the secret was found"
    );
    audit()?;
    Ok(())
}

/// What is in the dump, in order.
fn whole_pages(pieces: &[Piece]) -> Vec<Range<u64>> {
    let page = PAGE as u64;
    let ranges = pieces.iter().map(|piece| &piece.physical);
    let whole = ranges.map(|range| range.start.next_multiple_of(page)..range.end / page * page);
    let mut whole: Vec<_> = whole.filter(|range| !range.is_empty()).collect();
    whole.sort_by_key(|range| range.start);
    whole
}

/// What is looked at otherwise, by beginnings in order, and the end of the machine's memory: the dump, what this kernel uses, and what was set
/// aside for it.
fn known(dumped: Vec<Range<u64>>) -> Result<Vec<Range<u64>>> {
    let map = fs::read_to_string(MEMORY_MAP).context(MEMORY_MAP)?;
    let ranges = |what: &'static str| {
        let lines = map.lines().filter_map(range);
        lines.filter_map(move |(range, is)| (is == what).then_some(range))
    };
    let memory = ranges("System RAM").chain(ranges("Soft Reserved"));
    let end = memory.map(|range| range.end).max();
    let end = end.context("the first kernel had no memory")?;
    let mut known = dumped;
    known.extend(used_ranges()?);
    known.extend(ranges("Crash kernel"));
    known.sort_by_key(|range| range.start);
    known.push(end..end);
    Ok(known)
}

/// Looks at what lies between these ranges and before the first, and counts the pages that do not open. The kernel reads nothing above its own
/// memory from `/dev/mem`, but maps it, and copies from there.
fn search_between(ranges: &[Range<u64>]) -> Result<(Found, u64)> {
    let (mut reader, writer) = std::io::pipe()?;
    let writer = File::from(OwnedFd::from(writer));
    let (mut found, mut closed) = (Found::default(), 0);
    let mut page = [0; LOOK];
    let mut next = 0;
    for range in ranges {
        let size = range.start.saturating_sub(next) / PAGE as u64 * PAGE as u64;
        let mapped = match size {
            0 => 0,
            _ => machine::map_physical(next, size).with_context(|| format!("at {next:#x}"))?,
        };
        for place in (mapped..mapped + size).step_by(PAGE) {
            match raw::write_from(&writer, place, LOOK) {
                Ok(_) => {
                    reader.read_exact(&mut page)?;
                    found.look(&page);
                }
                Err(Errno::EFAULT) => closed += 1,
                Err(other) => return Err(other).context("reading what is mapped"),
            }
        }
        next = next.max(range.end.next_multiple_of(PAGE as u64));
    }
    Ok((found, closed))
}
