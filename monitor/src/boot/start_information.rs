//! What the loader hands over: the PVH start information (Xen, `public/arch-x86/hvm/start_info.h`).

use core::mem::{offset_of, size_of};

use arrayvec::ArrayVec;

use super::bundle::Bundle;
use super::handover::{COMMAND_LINE_SIZE, Handover};
use crate::memory::{Kind, MemoryEntry, Range};
use crate::physical;

const MAGIC: u32 = 0x336e_c578;

#[repr(C)]
struct StartInformation {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    root_pointer: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
struct Module {
    address: u64,
    size: u64,
    command_line: u64,
    reserved: u64,
}

#[repr(C)]
struct MapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

const _: () = {
    assert!(size_of::<StartInformation>() == 56);
    assert!(offset_of!(StartInformation, root_pointer) == 32);
    assert!(size_of::<Module>() == 32);
    assert!(size_of::<MapEntry>() == 24);
};

/// Copies the start information at `address`.
///
/// # Panics
/// If it is not one, as the loader does not speak the protocol, or gives no kernel.
///
/// # Safety
/// `address` must be what the loader handed over, and nothing may have overwritten it yet.
#[must_use]
pub unsafe fn read(address: u64) -> Handover {
    // SAFETY: the loader put the structure there; all memory is mapped one to one.
    let information = unsafe { &*(address as *const StartInformation) };
    assert!(
        information.magic == MAGIC,
        "not started by the PVH boot protocol"
    );
    assert!(
        information.version >= 1,
        "the loader gives no memory map (start information version 0)"
    );
    // SAFETY: count and address belong together, as the protocol says.
    let map = unsafe {
        core::slice::from_raw_parts(
            information.memory_map as *const MapEntry,
            information.memory_map_entries as usize,
        )
    };
    let mut memory = ArrayVec::new();
    for entry in map {
        let range = Range {
            start: entry.address,
            end: entry.address.saturating_add(entry.size),
        };
        memory.push(MemoryEntry {
            range,
            kind: Kind::from_number(entry.kind),
        });
    }
    assert!(
        information.module_count > 0,
        "the loader gives no module with domain 0's kernel"
    );
    // SAFETY: there is at least one module descriptor at this address.
    let module = unsafe { &*(information.modules as *const Module) };
    Handover {
        memory,
        held: ArrayVec::new(),
        bundle: bundle(module),
        // SAFETY: the protocol gives a zero-terminated string or 0.
        command_line: unsafe { copy_string(information.command_line) },
        root_pointer: information.root_pointer,
        uefi: None,
    }
}

fn bundle(module: &Module) -> Bundle {
    // SAFETY: the loader says that its module lies there; nothing writes to it before domain 0 starts.
    let bytes = unsafe {
        physical::bytes(Range {
            start: module.address,
            end: module.address + module.size,
        })
    };
    Bundle::parse(module.address, bytes)
        .unwrap_or_else(|reason| panic!("the module is no bundle: {reason:?}"))
}

/// # Safety
/// `address` is 0 or that of a zero-terminated string.
unsafe fn copy_string(address: u64) -> ArrayVec<u8, COMMAND_LINE_SIZE> {
    let mut text = ArrayVec::new();
    if address == 0 {
        return text;
    }
    for offset in 0..COMMAND_LINE_SIZE as u64 - 1 {
        // SAFETY: all bytes before this one were not the terminator.
        let byte = unsafe { *((address + offset) as *const u8) };
        if byte == 0 {
            break;
        }
        text.push(byte);
    }
    text
}
