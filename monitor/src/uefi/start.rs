//! The steps in the firmware, in order.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::fmt::{self, Write};

use adyton_secrets::approval;
use arrayvec::{ArrayString, ArrayVec};

use super::firmware::{Firmware, FirmwareLog, Folder, Map, Refusal};
use super::tables::{Guid, Handle, Status, SystemTable};
use super::{memory_map, overwrite};
use crate::attestation;
use crate::boot::bundle::Bundle;
use crate::boot::configuration::{Configuration, ConfigurationError, PATH};
use crate::boot::entry::leave_firmware;
use crate::boot::handover::{COMMAND_LINE_SIZE, Handover, Uefi};
use crate::instructions::read_cr4;
use crate::memory::Range;
use crate::once::Once;
use crate::tpm::event_log;
use crate::vendor::{Unsupported, Vendor};
use crate::{log, physical};

/// The longest configuration file.
const LONGEST_CONFIGURATION: u64 = 16 << 10;
/// Of a path, so much is shown.
const NAME: usize = 64;
const FIVE_LEVELS: u64 = 1 << 12;

/// Why the firmware gets the machine back.
#[derive(Debug)]
enum Failure {
    Firmware(Refusal),
    /// A file of the volume, by its path.
    File(ArrayString<NAME>, Refusal),
    Configuration(ConfigurationError),
    /// The firmware runs with page tables of five levels, which cannot be left without leaving 64-bit mode.
    FiveLevels,
    /// Its memory map has more entries than can be kept.
    MemoryMap,
    /// It has no ACPI tables.
    NoRootPointer,
    /// The CPU is none that the monitor runs on.
    Processor(Unsupported),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firmware(refusal) => write!(f, "the firmware refuses: {refusal:x?}"),
            Self::File(path, refusal) => write!(f, "{path}: {refusal:x?}"),
            Self::Configuration(error) => write!(f, "{PATH}: {error:?}"),
            Self::FiveLevels => f.write_str("the firmware uses page tables of five levels"),
            Self::MemoryMap => f.write_str("the firmware's memory is in too many pieces"),
            Self::NoRootPointer => f.write_str("the firmware has no ACPI tables"),
            Self::Processor(reason) => write!(f, "this processor will not do: {reason:?}"),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Firmware(refusal)
    }
}

/// Bytes for the firmware's memory map.
const MAP_SIZE: usize = 64 << 10;

#[repr(C, align(4096))]
struct Buffer(UnsafeCell<[u8; MAP_SIZE]>);

// SAFETY: written by `uefi_main` alone, before anything else runs, and only read afterwards.
unsafe impl Sync for Buffer {}

static MAP: Buffer = Buffer(UnsafeCell::new([0; MAP_SIZE]));
static HANDOVER: Once<Handover> = Once::new();

/// The firmware's memory map, as it was when the boot services ended.
#[must_use]
pub fn map_bytes(uefi: &Uefi) -> &'static [u8] {
    // SAFETY: see `Buffer`; whoever has a `Uefi` comes after `uefi_main`.
    let bytes: &[u8; MAP_SIZE] = unsafe { &*MAP.0.get() };
    bytes.get(..uefi.map_size).unwrap_or(&[])
}

/// What [`uefi_main`] leaves.
///
/// # Panics
/// If the monitor was not started by UEFI.
#[must_use]
pub fn handover() -> &'static Handover {
    HANDOVER.get()
}

/// Called by the entry code (`boot/entry.rs`) with what the firmware gives an application.
///
/// # Safety
/// Only the entry code may call it, once, with interrupts off.
pub unsafe extern "efiapi" fn uefi_main(image: Handle, system: *const SystemTable) -> Status {
    // SAFETY: as the caller warrants.
    let firmware = unsafe { Firmware::new(image, system) };
    let outcome = load(&firmware).and_then(|loaded| Ok((loaded, end_boot_services(&firmware)?)));
    match outcome {
        Ok((loaded, map)) => HANDOVER.set(hand_over(&firmware, loaded, map)),
        Err(failure) => {
            let mut text = ArrayString::<150>::new();
            // What does not fit is cut.
            let _ = write!(text, "adyton cannot start: {failure}");
            firmware.say(&text);
            // SAFETY: the firmware expects them on.
            unsafe { asm!("sti", options(nomem, nostack)) };
            return Status::LOAD_ERROR;
        }
    };
    // SAFETY: the boot services have ended, so the machine is the monitor's; the image is at the address that it is linked for.
    unsafe { leave_firmware() }
}

/// What was loaded.
struct Loaded {
    root_pointer: u64,
    configuration: Range,
    approvals: Range,
    bundle: Bundle,
    command_line: ArrayVec<u8, COMMAND_LINE_SIZE>,
}

fn load(firmware: &Firmware) -> Result<Loaded, Failure> {
    if read_cr4() & FIVE_LEVELS != 0 {
        return Err(Failure::FiveLevels);
    }
    Vendor::detect().map_err(Failure::Processor)?;
    let root_pointer = firmware.table(Guid::ACPI).ok_or(Failure::NoRootPointer)?;
    let volume = firmware.volume()?;
    let file = load_file(&volume, PATH)?;
    if file.size() > LONGEST_CONFIGURATION {
        return Err(Failure::Configuration(ConfigurationError::TooLong));
    }
    // SAFETY: just loaded, into memory that nobody else knows.
    let bytes = unsafe { physical::bytes(file) };
    let configuration = Configuration::parse(bytes).map_err(Failure::Configuration)?;
    let bundle = Bundle {
        kernel: load_file(&volume, configuration.kernel)?,
        ram_disk: match configuration.initrd {
            Some(path) => load_file(&volume, path)?,
            None => Range::default(),
        },
    };
    Ok(Loaded {
        root_pointer,
        configuration: file,
        approvals: load_approvals(&volume),
        bundle,
        command_line: configuration.command_line.bytes().collect(),
    })
}

/// The maintainer's approvals. Without them the boot goes on, and finds no platform secret.
fn load_approvals(volume: &Folder<'_>) -> Range {
    let file = volume.load(approval::PATH).unwrap_or_default();
    if file.size() > approval::LONGEST {
        log!("the file of approvals is too long");
        return Range::default();
    }
    file
}

fn load_file(volume: &Folder<'_>, path: &str) -> Result<Range, Failure> {
    volume.load(path).map_err(|refusal| {
        let shown = path.get(..path.len().min(NAME)).unwrap_or("");
        Failure::File(ArrayString::from(shown).unwrap_or_default(), refusal)
    })
}

/// Ends the boot services, and takes the memory map and the event log along.
fn end_boot_services(firmware: &Firmware) -> Result<Map, Failure> {
    overwrite::request(firmware);
    let log = firmware.event_log();
    let late = final_events_table(firmware);
    let known = late.and_then(event_log::final_events);
    if let Some(log) = log {
        keep(log);
    }
    // SAFETY: nobody has been given a reference yet, see `Buffer`.
    let buffer = unsafe { &mut *MAP.0.get() };
    let mut map = firmware.memory_map(buffer)?;
    let size = map.size.min(buffer.len());
    let descriptors = memory_map::descriptors(&buffer[..size], map.descriptor_size);
    memory_map::entries(descriptors.clone()).map_err(|_| Failure::MemoryMap)?;
    memory_map::held(descriptors).map_err(|_| Failure::MemoryMap)?;
    if firmware.exit(&map).is_err() {
        // What runs at the end of the boot services may have changed the map, once.
        map = firmware.memory_map(buffer)?;
        firmware.exit(&map)?;
    }
    if let (Some(table), Some(known)) = (late, known) {
        let appended = attestation::LOG.lock().append_final(table, known);
        if let Err(reason) = appended {
            log!("the last events of the firmware cannot be read: {reason:?}");
        }
    }
    Ok(map)
}

/// What of the final-events table may be read.
fn final_events_table(firmware: &Firmware) -> Option<&'static [u8]> {
    let start = firmware.table(Guid::FINAL_EVENTS)?;
    let end = start + event_log::CAPACITY as u64;
    // SAFETY: memory that survives the boot services; how far it reaches, its contents say, which are read no further.
    Some(unsafe { physical::bytes(Range { start, end }) })
}

/// Copies the log, which lies in memory of the boot services.
fn keep(log: FirmwareLog) {
    let range = Range {
        start: log.first,
        end: log.first + event_log::CAPACITY as u64,
    };
    // SAFETY: mapped memory; the log ends somewhere in it, or is not taken.
    let bytes = unsafe { physical::bytes(range) };
    let taken = attestation::LOG
        .lock()
        .begin(bytes, log.last.saturating_sub(log.first) as usize);
    match taken {
        Err(reason) => log!("the firmware's event log cannot be read: {reason:?}"),
        Ok(()) if log.is_truncated => log!("the firmware's event log is not complete"),
        Ok(()) => {}
    }
}

/// The boot services are gone, and so is the way back.
fn hand_over(firmware: &Firmware, loaded: Loaded, map: Map) -> Handover {
    const TOO_LONG: &str = "the firmware's memory map has too many entries";
    let uefi = Uefi {
        system_table: firmware.system_table(),
        configuration: loaded.configuration,
        approvals: loaded.approvals,
        map_size: map.size,
        descriptor_size: map.descriptor_size,
    };
    let descriptors = memory_map::descriptors(map_bytes(&uefi), map.descriptor_size);
    Handover {
        memory: memory_map::entries(descriptors.clone()).expect(TOO_LONG),
        held: memory_map::held(descriptors).expect(TOO_LONG),
        bundle: loaded.bundle,
        command_line: loaded.command_line,
        root_pointer: loaded.root_pointer,
        uefi: Some(uefi),
    }
}
