//! Domain 0's nested tables: all of the machine, one to one, but what is the monitor's: its memory, and the TPM.

use crate::address::{GuestPhysical, HostPhysical, PAGE_SIZE};
use crate::devices::controller_hub;
use crate::frames::FRAMES;
use crate::iommu;
use crate::log;
use crate::machine::Machine;
use crate::memory::{Kind, Range};
use crate::nested::{
    Emptied, End, Mapping, MustFlush, NestedTables, Progress, Refused, Rights, View,
};
use crate::once::Once;
use crate::vendor::Vendor;
use adyton_x86::{apic, tpm};

static VIEW: Once<View> = Once::new();

/// Makes the tables.
pub(super) fn create(vendor: Vendor, machine: &Machine) -> NestedTables {
    let mut tables = NestedTables::new(&FRAMES, vendor.nested_format(), machine.gigabyte_pages)
        .expect(TOO_SMALL);
    // Four levels of nested tables reach 48 bits.
    let all = Range {
        start: 0,
        end: 1 << machine.physical_bits.min(48),
    };
    identity(&mut tables, all, Rights::ALL);
    let tpm = Range {
        start: tpm::BASE,
        end: tpm::END,
    };
    for hidden in machine.layout.hidden().into_iter().chain([tpm]) {
        let (place, size) = (GuestPhysical(hidden.start), hidden.size());
        complete(tables.unmap(&FRAMES, place, size, Emptied::Detach, u32::MAX));
    }
    // Writes to the APICs are looked at, see `apic` and `io_apic`.
    for address in &machine.io_apics {
        watch_page(&mut tables, address & !(PAGE_SIZE - 1));
    }
    watch_page(&mut tables, apic::DEFAULT_BASE);
    let (start, size) = log::place();
    let ring = Range {
        start,
        end: start + size,
    };
    identity(&mut tables, ring, Rights::READ);
    show_to_devices(&mut tables, machine);
    watch_configuration(&mut tables, machine);
    if controller_hub::is_present() {
        watch_page(&mut tables, controller_hub::PAGE);
    }
    hide_units(&mut tables, machine, all);
    VIEW.set(tables.view());
    iommu::open(tables.root());
    tables
}

/// Lets devices reach memory: all of domain 0's, but not each other's registers.
fn show_to_devices(tables: &mut NestedTables, machine: &Machine) {
    let layout = &machine.layout;
    let memory = layout
        .domain0
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Ram | Kind::SoftReserved))
        .map(|entry| entry.range);
    let hidden = layout.hidden();
    let unity = machine.unity.iter().copied().filter(|range| {
        !range.overlaps(layout.pool) && !hidden.iter().any(|hidden| hidden.overlaps(*range))
    });
    for range in memory.chain(unity) {
        let range = Range {
            start: range.start.next_multiple_of(PAGE_SIZE),
            end: range.end / PAGE_SIZE * PAGE_SIZE,
        };
        if range.size() > 0 {
            identity(tables, range, Rights::ALL.union(Rights::DEVICE));
        }
    }
}

/// Stores to this page are looked at.
fn watch_page(tables: &mut NestedTables, start: u64) {
    let end = start + PAGE_SIZE;
    identity(tables, Range { start, end }, Rights::READ);
}

/// Stores to configuration space are looked at, see `configuration`.
fn watch_configuration(tables: &mut NestedTables, machine: &Machine) {
    for segment in &machine.segments {
        match segment.watched() {
            Some(range) => identity(tables, range, Rights::READ),
            None if segment.group == 0 => {
                log!(
                    "stores to configuration space at {:#x} are not looked at",
                    segment.base
                );
            }
            None => {}
        }
    }
}

/// Hides the IOMMUs.
fn hide_units(tables: &mut NestedTables, machine: &Machine, all: Range) {
    for unit in &machine.iommus {
        // SAFETY: the firmware describes it.
        let has_counters = unsafe { iommu::hiding::has_counters(unit) };
        let ranges = iommu::hiding::ranges(unit, has_counters, &machine.segments);
        // The tables lead nowhere else.
        for range in ranges.filter(|range| range.start < all.end) {
            let size = range.end.min(all.end) - range.start;
            let place = GuestPhysical(range.start);
            complete(tables.unmap(&FRAMES, place, size, Emptied::Detach, u32::MAX));
        }
    }
}

/// What domain 0's tables show, to look things up.
pub(super) fn view() -> View {
    *VIEW.get()
}

const TOO_SMALL: &str = "the reserve is too small for domain 0's nested tables";

fn identity(tables: &mut NestedTables, range: Range, rights: Rights) {
    let mapping = Mapping {
        place: GuestPhysical(range.start),
        base: HostPhysical(range.start),
        size: range.size(),
        rights,
    };
    complete(tables.map(&FRAMES, mapping, u32::MAX));
}

/// While booting, nothing is in slices and no core could have cached anything.
fn complete(progress: Result<Progress, Refused>) {
    let Ok(Progress {
        end: End::Complete,
        flush,
        ..
    }) = progress
    else {
        panic!("{TOO_SMALL}")
    };
    MustFlush::flushed(flush);
}
