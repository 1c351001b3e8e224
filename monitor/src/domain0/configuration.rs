//! Domain 0's stores to configuration space where it is mapped to memory: carried out, but for those that are refused
//! ([`crate::devices::permission`]). Windows that are not watched ([`crate::acpi::Segment::watched`]) are domain 0's own.

use super::store::fetched;
use crate::devices::permission::Write;
use crate::devices::ports;
use crate::guest::instruction::{Direction, Register, Transfer};
use crate::machine;
use crate::vcpu::Vcpu;

/// Carries out the store at RIP, which goes to `address`; `false` if that is no configuration space.
pub(super) fn store(vcpu: &mut Vcpu, address: u64) -> bool {
    let found = machine::get().segments.iter().find_map(|segment| {
        let is_inside = segment.watched()?.contains(address);
        is_inside.then(|| address - segment.base)
    });
    let Some(offset) = found else {
        return false;
    };
    let Some(instruction) = fetched(vcpu) else {
        return true;
    };
    // Systems use nothing but moves of up to four bytes here.
    if let Some((value, width)) = instruction
        .transfer()
        .and_then(|transfer| stored(vcpu, transfer))
    {
        let write = Write {
            offset: (offset & 0xfff) as u16,
            width,
        };
        let function = (offset >> 12) as u16;
        ports::while_permitted(function, write, value, || perform(address, width, value));
    }
    vcpu.advance(instruction.length().into());
    true
}

/// What a store stores, and how many bytes of it.
fn stored(vcpu: &Vcpu, transfer: Transfer) -> Option<(u32, u8)> {
    let value = match transfer.direction {
        Direction::Store(Register { number, high_byte }) => {
            vcpu.register_by_number(number) >> if high_byte { 8 } else { 0 }
        }
        Direction::StoreImmediate(value) => value,
        Direction::Exchange(_) | Direction::Load(_) => return None,
    };
    matches!(transfer.width, 1 | 2 | 4).then_some((value as u32, transfer.width))
}

fn perform(address: u64, width: u8, value: u32) {
    if !address.is_multiple_of(width.into()) {
        return;
    }
    // SAFETY: in a window that the firmware describes, mapped one to one (`Segment::watched`), at a function that is domain 0's; what must not
    // get there was held back.
    unsafe {
        match width {
            1 => (address as *mut u8).write_volatile(value as u8),
            2 => (address as *mut u16).write_volatile(value as u16),
            _ => (address as *mut u32).write_volatile(value),
        }
    }
}
