//! The steps of a boot, in order.

use arrayvec::ArrayVec;

use super::entry::{boot_stack_base, leave_boot_stack};
use super::handover::{Handover, Uefi};
use super::linux::{FirmwareFacts, Kernel, Parameters};
use super::options::Options;
use super::{
    hidden_table, multiboot, paging, processor, sleep_states, start_information, task, time,
    trampoline,
};
use crate::acpi::{IommuUnit, SleepState, Tables};
use crate::cores::{self, Core, stack, topology};
use crate::frames::FRAMES;
use crate::instructions::cpuid;
use crate::interrupts::ExceptionTables;
use crate::iommu::{self, MOST_UNITS};
use crate::machine::{self, MOST_RANGES, Machine};
use crate::memory::{Kind, Layout, MOST_HIDDEN, MemoryEntry, Range, Wishes};
use crate::once::Once;
use crate::uefi::memory_map::{self, Descriptor, MOST_HELD};
use crate::vendor::Vendor;
use crate::{
    apic, attestation, console, devices, domain0, enclave, interrupts, last_words, log, physical,
    scrub, uefi,
};
use adyton_x86::cpuid::{STRUCTURED_FEATURES, structured_ebx};

/// Where domain 0's boot parameters and command line go: low memory, which every PC has.
const PARAMETERS: u64 = 0x1_0000;
const COMMAND_LINE: u64 = 0x2_0000;
/// Where its copy of the firmware's memory map goes, and ends at the latest.
const FIRMWARE_MAP: u64 = 0x3_0000;
const FIRMWARE_MAP_END: u64 = 0x4_0000;
/// Where the first of all these begins, the trampoline.
const LOWEST: u64 = (trampoline::PAGE as u64) << 12;
/// Files, stretches that are held, and what is added while domain 0 is placed.
const MOST_OCCUPIED: usize = MOST_HELD + 8 + MOST_HIDDEN;

/// The firmware's tables, in this machine's memory.
type FirmwareTables<'a> = Tables<'a, physical::Memory>;

unsafe extern "C" {
    static image_start: u8;
    static image_end: u8;
}

/// The bootstrap core's, until it has its own.
static TABLES: Once<ExceptionTables> = Once::new();
static HANDOVER: Once<Handover> = Once::new();
/// That, or what the firmware has left.
static HANDED_OVER: Once<&'static Handover> = Once::new();

/// Boots the machine that a loader which speaks PVH has started.
///
/// # Safety
/// Once, with what that loader handed over.
pub unsafe fn after_pvh(start_information: u64) -> ! {
    catch_exceptions();
    // SAFETY: as the caller warrants.
    run(HANDOVER.set(unsafe { start_information::read(start_information) }))
}

/// Boots the machine that a loader which speaks Multiboot2 has started.
///
/// # Safety
/// Once, with what that loader handed over.
pub unsafe fn after_multiboot(information: u64) -> ! {
    catch_exceptions();
    // SAFETY: as the caller warrants.
    run(HANDOVER.set(unsafe { multiboot::read(information) }))
}

/// From here on what goes wrong is told.
fn catch_exceptions() {
    let base = boot_stack_base();
    stack::set_boot_stack(base);
    let tables = TABLES.set(interrupts::tables(stack::fault_stack_end(base)));
    // SAFETY: no other core runs.
    unsafe { use_tables(tables) };
}

/// # Safety
/// While booting, on one core at a time; the tables are its own.
unsafe fn use_tables(tables: &'static ExceptionTables) {
    tables.load();
    // SAFETY: as the caller warrants.
    unsafe { task::load(tables.task()) };
    tables.use_fault_stack(true);
}

/// Boots the machine that the firmware has left.
pub extern "C" fn after_uefi() -> ! {
    console::initialize();
    catch_exceptions();
    run(uefi::handover())
}

fn run(handover: &'static Handover) -> ! {
    let options = options(handover);
    log::show_on_console(options.log_to_console);
    log!("version {}", env!("CARGO_PKG_VERSION"));
    last_words::tell();

    let vendor = Vendor::detect().unwrap_or_else(|reason| panic!("cannot run here: {reason:?}"));
    let tables = Tables::find(handover.root_pointer, &physical::Memory)
        .unwrap_or_else(|reason| panic!("the firmware's tables cannot be read: {reason:?}"));
    let layout = plan(handover, &tables, &options);
    // SAFETY: the layout has found this memory free, and shows it to nobody.
    unsafe { FRAMES.initialize(layout.reserve) };
    scrub::initialize(&layout);
    let end_of_memory = layout.end_of_memory();
    // SAFETY: no other core runs, and the reserve lies in memory that is mapped.
    unsafe {
        paging::map_up_to(end_of_memory);
        paging::unmap(&stack::guards(boot_stack_base()));
    }

    let apic_ids = find_machine(&tables, layout, &options);
    iommu::start(&machine::get().iommus);
    devices::find(machine::get());
    processor::find_vector_state();
    let cores = Core::create_all(apic_ids.iter().copied());
    let Some(own) = cores.first() else {
        panic!("there is no core")
    };
    for core in cores {
        // SAFETY: no other core runs, and nothing lies on these pages.
        unsafe { paging::unmap(&core.guards()) };
    }
    enclave::create(&machine::get().layout, cores.len());
    domain0::create(vendor, cores);
    // SAFETY: first thing on this core; the trampoline's page is free low memory.
    unsafe {
        prepare_core(own, vendor);
        cores::start_all(cores);
    }
    HANDED_OVER.set(handover);
    // SAFETY: what goes on uses statics and the reserve.
    unsafe { leave_boot_stack(own.stack_end() as u64) }
}

/// The rest, on a stack that is empty again and is wiped when the machine ends.
pub extern "C" fn on_own_stack(core: &'static Core) -> ! {
    let handover = HANDED_OVER.get();
    // SAFETY: the loader says that its file lies there; nothing writes to it before domain 0 starts.
    let kernel = Kernel::parse(unsafe { physical::bytes(handover.bundle.kernel) })
        .unwrap_or_else(|reason| panic!("domain 0's kernel cannot be booted: {reason:?}"));
    // SAFETY: the files are where they were loaded, and domain 0 does not run yet.
    unsafe { attestation::measure::measure(handover) };
    // The platform secret was there.
    cores::clear_below();
    enclave::complete();
    load(&kernel, handover, core)
}

/// What an application processor does, on its own stack.
pub extern "C" fn application_main(core: &'static Core) -> ! {
    // SAFETY: first thing on this core.
    unsafe { prepare_core(core, Vendor::current()) };
    enter(core)
}

/// # Safety
/// Once a core, first of all, on one at a time.
unsafe fn prepare_core(core: &'static Core, vendor: Vendor) {
    // SAFETY: as the caller warrants.
    unsafe {
        use_tables(&core.tables);
        processor::prepare();
        vendor.enable(core);
        interrupts::hold();
    }
    core.set_started();
}

fn options(handover: &Handover) -> Options {
    let Ok(line) = core::str::from_utf8(&handover.command_line) else {
        return Options::default();
    };
    Options::parse(line).unwrap_or_else(|word| panic!("cannot understand {:?}", word.0))
}

fn plan(handover: &Handover, tables: &FirmwareTables<'_>, options: &Options) -> Layout {
    let image = Range {
        start: &raw const image_start as u64,
        end: &raw const image_end as u64,
    };
    let occupied = occupied(handover);
    let wishes = Wishes {
        pool_size: options.pool_size,
        pool_place: options.pool_place,
        reserve: options.reserve,
        // There will be a device table.
        besides: if tables.iommu_table().is_some() {
            iommu::RESERVED
        } else {
            0
        },
        epc_size: options.epc_size,
        epc_reserve: enclave::reserve(count_cores(tables)),
    };
    let layout = Layout::plan(&handover.memory, image, &occupied, &wishes)
        .unwrap_or_else(|reason| panic!("memory cannot be divided as asked: {reason:?}"));
    log!(
        "image {:x?}, reserve {:x?}, pool {:x?}",
        layout.image,
        layout.reserve,
        layout.pool
    );
    layout
}

/// What must stay where it is until domain 0 runs.
fn occupied(handover: &Handover) -> ArrayVec<Range, MOST_OCCUPIED> {
    let loaded = [handover.bundle.kernel, handover.bundle.ram_disk];
    let beside = handover
        .uefi
        .map(|uefi| [uefi.configuration, uefi.approvals]);
    let beside = beside.into_iter().flatten();
    let held = handover.held.iter().copied();
    loaded
        .into_iter()
        .chain(beside.filter(|range| range.size() > 0))
        .chain(held)
        .collect()
}

/// How many cores there can be. Without a list there is one.
fn count_cores(tables: &FirmwareTables<'_>) -> usize {
    let mut count = 0;
    let _ = tables.cores(|core| count += usize::from(core.enabled));
    count.clamp(1, MOST_CORES)
}

/// Reads the firmware's tables, publishes the machine, and returns the cores, this one first.
fn find_machine(
    tables: &FirmwareTables<'_>,
    layout: Layout,
    options: &Options,
) -> ArrayVec<u32, MOST_CORES> {
    let own = apic::id();
    let mut apic_ids = ArrayVec::new();
    apic_ids.push(own);
    let listed = tables.cores(|core| {
        if core.enabled && core.apic_id != own && apic_ids.try_push(core.apic_id).is_err() {
            log!("core with APIC {} is left alone: too many", core.apic_id);
        }
    });
    if let Err(reason) = listed {
        log!("no list of cores: {reason:?}; going on with one");
    }
    let power_off = tables.sleep_type(SleepState::S5).ok().flatten();
    let fixed = tables.fixed().ok();
    if let Some(dsdt) = fixed.and_then(|fixed| fixed.dsdt) {
        // SAFETY: the table was found and checked there a moment ago, and domain 0, whose it is, does not run yet.
        let table = unsafe { physical::acpi_table(dsdt) };
        let hidden = sleep_states::hide(table);
        hidden_table::hide_device(table);
        log!("{hidden} sleep states hidden");
    }
    if let Some(table) = tables.tpm() {
        // SAFETY: as for the DSDT.
        hidden_table::hide(unsafe { physical::acpi_table(table) });
        log!("the TPM is hidden");
    }
    let mut io_apics = ArrayVec::new();
    let listed = tables.io_apics(|address| io_apics.push(address));
    if let Err(reason) = listed {
        log!("no list of I/O APICs: {reason:?}");
    }
    let (iommus, unity) = find_iommus(tables);
    let mut segments = ArrayVec::new();
    let listed = tables.configuration_space(|segment| segments.push(segment));
    if let Err(reason) = listed {
        log!("no list of configuration space: {reason:?}");
    }
    // SAFETY: nothing else runs.
    let ticks_per_second = unsafe { time::measure() };
    machine::set(Machine {
        layout,
        io_apics,
        fixed,
        power_off,
        iommus,
        unity,
        segments,
        allows_unprotected: options.allows_unprotected,
        ticks_per_second,
        physical_bits: (cpuid(0x8000_0008, 0).eax & 0xff).clamp(36, 52),
        threads: topology::threads(cpuid),
        gigabyte_pages: cpuid(0x8000_0001, 0).edx & 1 << 26 != 0,
        patience: options.patience.saturating_mul(
            match ticks_per_second {
                0 => FASTEST,
                measured => measured,
            } / 1000,
        ),
        sha_extensions: cpuid(STRUCTURED_FEATURES, 0).ebx & structured_ebx::SHA != 0,
    });
    apic_ids
}

/// The IOMMUs, each once, and what devices go on reaching. Their table is hidden.
fn find_iommus(
    tables: &FirmwareTables<'_>,
) -> (
    ArrayVec<IommuUnit, MOST_UNITS>,
    ArrayVec<Range, MOST_RANGES>,
) {
    let (mut iommus, mut unity) = (ArrayVec::<IommuUnit, _>::new(), ArrayVec::new());
    let listed = tables.iommus(|unit| {
        if iommus.iter().all(|known| known.base != unit.base) {
            iommus.push(unit);
        }
    });
    let listed = listed.and_then(|()| tables.unity_ranges(|range| unity.push(range)));
    if let Err(reason) = listed {
        panic!("the IOMMUs' table cannot be read: {reason:?}");
    }
    if let Some(table) = tables.iommu_table() {
        // SAFETY: the table was found and checked there a moment ago, and domain 0, whose it is, does not run yet.
        iommu::hiding::rename(unsafe { physical::acpi_table(table) });
    }
    if iommus.is_empty() {
        let other = if tables.has_intel_iommu() {
            ", for Intel's is not driven"
        } else {
            ""
        };
        log!("no IOMMU{other}: devices reach all memory");
    }
    (iommus, unity)
}

/// Puts domain 0 into memory and starts it.
fn load(kernel: &Kernel<'_>, handover: &Handover, core: &'static Core) -> ! {
    let layout = &machine::get().layout;
    let low = Range {
        start: PARAMETERS,
        end: FIRMWARE_MAP_END,
    };
    let is_ram = |entry: &MemoryEntry| {
        entry.kind == Kind::Ram && entry.range.start <= LOWEST && low.end <= entry.range.end
    };
    assert!(
        handover.memory.iter().any(is_ram),
        "the firmware uses the low memory that a boot needs"
    );
    let mut taken = occupied(handover);
    taken.extend([layout.pool, low]);
    taken.extend(layout.hidden());
    let entry = kernel
        .place(&handover.memory, &taken)
        .unwrap_or_else(|reason| panic!("no place for domain 0's kernel: {reason:?}"));
    // SAFETY: all of this is RAM that belongs to domain 0, which does not run yet, and holds nothing that is still needed.
    unsafe {
        physical::write(entry, kernel.payload());
        physical::write(COMMAND_LINE, &handover.command_line);
        physical::write(COMMAND_LINE + handover.command_line.len() as u64, &[0]);
        let page = &mut *(PARAMETERS as *mut [u8; 4096]);
        kernel.write_parameters(
            page,
            &Parameters {
                command_line: COMMAND_LINE,
                ram_disk: handover.bundle.ram_disk,
                root_pointer: handover.root_pointer,
                map: &layout.domain0,
                uefi: handover.uefi.map(|uefi| firmware_facts(&uefi, layout)),
            },
        );
    }
    log!(
        "domain 0's kernel at {entry:#x}, {} cores",
        cores::all().len()
    );
    log::show_on_console(false);
    domain0::start_bootstrap(core, entry, PARAMETERS);
    enter(core)
}

/// Writes the firmware's memory map for domain 0, and says what domain 0 needs to call the firmware.
///
/// # Safety
/// The place of the map is RAM of domain 0's, which does not run yet.
unsafe fn firmware_facts(uefi: &Uefi, layout: &Layout) -> FirmwareFacts {
    const DESCRIPTORS: usize = (FIRMWARE_MAP_END - FIRMWARE_MAP) as usize / size_of::<Descriptor>();
    // SAFETY: as the caller warrants; any bytes are descriptors.
    let places = unsafe { &mut *(FIRMWARE_MAP as *mut [Descriptor; DESCRIPTORS]) };
    let bytes = uefi::map_bytes(uefi);
    let descriptors = memory_map::descriptors(bytes, uefi.descriptor_size);
    let count = memory_map::for_domain0(descriptors, &layout.hidden(), layout.pool, places)
        .expect("the firmware's memory map is too long for domain 0");
    FirmwareFacts {
        system_table: uefi.system_table,
        map: FIRMWARE_MAP,
        map_size: (count * size_of::<Descriptor>()) as u32,
        descriptor_size: size_of::<Descriptor>() as u32,
    }
}

/// Runs domain 0 on this core, once it wants to.
fn enter(core: &'static Core) -> ! {
    // SAFETY: domain 0's vCPUs are made, and this core alone touches its own.
    let vcpu = unsafe { &mut *core.domain0_vcpu() };
    let vcpu = core.wait_for_startup(vcpu);
    vcpu.prepare_entry(core);
    // SAFETY: the core is prepared, the vCPU is configured and runs nowhere else.
    unsafe { Vendor::current().run(core, vcpu) }
}

/// Ticks in a second where there is nothing to measure them by: rather too patient than not enough.
const FASTEST: u64 = 4_000_000_000;

/// Only the list that is made while booting has a limit.
const MOST_CORES: usize = 1024;
