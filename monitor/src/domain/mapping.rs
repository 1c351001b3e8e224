//! The effects that are about where memory is in a domain: its nested tables.

use adyton_capability::effect::{Applied, Budget};
use adyton_capability::identity::DomainId;

use super::context::Changing;
use super::platform::patiently;
use super::tables::DomainFrames;
use crate::address::{GuestPhysical, HostPhysical};
use crate::instructions::time_stamp;
use crate::iommu;
use crate::log;
use crate::nested::{Emptied, End, Mapping, Progress, Refused, Rights};

/// About how many instructions an entry of a nested table costs.
const ENTRY_COST: u64 = 100;

/// A range on its way into a domain: its first `from` bytes are done.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    pub(super) place: u64,
    pub(super) base: u64,
    pub(super) size: u64,
    pub(super) from: u64,
}

/// Goes on with mapping it.
pub(super) fn map(
    (id, changing): (DomainId, &mut Changing),
    stretch: Stretch,
    rights: Rights,
    budget: &mut Budget,
) -> Applied {
    let frames = DomainFrames::new(changing.retired);
    let mapping = Mapping {
        place: GuestPhysical(stretch.place + stretch.from),
        base: HostPhysical(stretch.base + stretch.from),
        size: stretch.size - stretch.from,
        rights,
    };
    let Some(tables) = &mut changing.tables else {
        return Applied::Done;
    };
    let progress = tables.map(&frames, mapping, entries(budget));
    changing.retired = frames.retired();
    if progress.as_ref().is_ok_and(|progress| progress.opened)
        && let Some(filed) = changing.filed(id)
    {
        changing.device_opening = Some((iommu::Flush::Needed, time_stamp()));
        changing.device_filed = filed;
    }
    match changed(changing, progress, stretch.size, stretch.from, budget) {
        Applied::Done => opened_to_devices(changing),
        other => other,
    }
}

/// Waits until no unit remembers that what was mapped was absent.
fn opened_to_devices(changing: &mut Changing) -> Applied {
    let filed = changing.device_filed;
    let Some((flush, since)) = &mut changing.device_opening else {
        return Applied::Done;
    };
    if flush.advance(filed) {
        changing.device_opening = None;
        return Applied::Done;
    }
    patiently(*since)
}

/// Goes on with taking a range out of a domain.
pub(super) fn unmap(
    changing: &mut Changing,
    place: u64,
    size: u64,
    from: u64,
    budget: &mut Budget,
) -> Applied {
    let frames = DomainFrames::new(changing.retired);
    let start = GuestPhysical(place + from);
    // What is carved from domain 0 comes back; what another domain loses is mostly gone for good.
    let emptied = if changing.control_page.is_none() {
        Emptied::Keep
    } else {
        Emptied::Detach
    };
    let Some(tables) = &mut changing.tables else {
        return Applied::Done;
    };
    let progress = tables.unmap(&frames, start, size - from, emptied, entries(budget));
    changing.retired = frames.retired();
    changed(changing, progress, size, from, budget)
}

fn entries(budget: &Budget) -> u32 {
    (budget.left() / ENTRY_COST).clamp(1, 4096) as u32
}

/// How far a change of tables came.
fn changed(
    changing: &mut Changing,
    progress: Result<Progress, Refused>,
    size: u64,
    from: u64,
    budget: &mut Budget,
) -> Applied {
    // The engine checks places and sizes, and charges for every table: neither is refused.
    let Ok(progress) = progress else {
        log!("a change of nested tables was refused: {progress:?}");
        return Applied::TimedOut;
    };
    budget.spend(ENTRY_COST * 16);
    if progress.flush.is_needed() {
        changing.flushing.need();
    }
    progress.flush.flushed();
    let done = from + progress.done;
    match progress.end {
        End::Complete if done >= size => Applied::Done,
        End::OutOfFrames => {
            log!("no frame for a table that was paid for");
            Applied::TimedOut
        }
        _ => {
            budget.spend(budget.left());
            Applied::Partial(done)
        }
    }
}
