//! Stores of domain 0's to a page of device registers that it may only read: decoded, and carried out as the device's
//! filter says.

use crate::guest::fetch::FetchError;
use crate::guest::instruction::{Direction, Instruction, Register, Transfer};
use crate::guest::walk::Fault;
use crate::vcpu::Vcpu;

/// The registers of a device, 32 bits each.
pub(super) trait Registers {
    /// What a load from `offset` gives.
    fn read(&self, offset: u64) -> u32;
    /// A store of domain 0's to `offset`.
    fn write(&self, offset: u64, value: u32);
}

/// The instruction at RIP. Where there is none the vCPU goes on as it is: with the exception that a fetch would raise, or anew.
pub(super) fn fetched(vcpu: &mut Vcpu) -> Option<Instruction> {
    match vcpu.fetch() {
        Ok(instruction) => return Some(instruction),
        Err(FetchError::Walk(Fault::Page(fault))) => {
            vcpu.inject_page_fault(fault.address.value(), fault.error_code);
        }
        // The tables are being changed by another core: the CPU will fetch again.
        Err(FetchError::Walk(_)) => {}
        Err(FetchError::NotLongMode | FetchError::NoInstruction) => {
            vcpu.inject_general_protection();
        }
    }
    None
}

/// Carries out the store at RIP, which goes to `offset` of the device's page.
pub(super) fn emulate(vcpu: &mut Vcpu, device: &impl Registers, offset: u64) {
    let Some(instruction) = fetched(vcpu) else {
        return;
    };
    // A store of another kind has no defined effect on such registers: it has none here.
    if let Some(transfer) = instruction
        .transfer()
        .filter(|transfer| transfer.width == 4)
    {
        carry_out(vcpu, device, offset, transfer);
    }
    vcpu.advance(instruction.length().into());
}

fn carry_out(vcpu: &mut Vcpu, device: &impl Registers, offset: u64, transfer: Transfer) {
    match transfer.direction {
        Direction::Store(register) => {
            device.write(offset, vcpu.register_by_number(register.number) as u32);
        }
        Direction::StoreImmediate(value) => device.write(offset, value as u32),
        Direction::Exchange(register) => {
            let value = vcpu.register_by_number(register.number) as u32;
            vcpu.set_register_by_number(register.number, device.read(offset).into());
            device.write(offset, value);
        }
        Direction::Load(_) => {}
    }
}

/// Carries out the store of up to four bytes at RIP, which goes to `address`, as far as `judge` does what it is given, with the width and the value.
pub(super) fn narrow(vcpu: &mut Vcpu, address: u64, judge: impl FnOnce(u8, u32, &dyn Fn())) {
    let Some(instruction) = fetched(vcpu) else {
        return;
    };
    // Systems use nothing but moves of up to four bytes here.
    if let Some((value, width)) = instruction
        .transfer()
        .and_then(|transfer| stored(vcpu, transfer))
    {
        judge(width, value, &|| perform(address, width, value));
    }
    vcpu.advance(instruction.length().into());
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
    // SAFETY: registers of the machine's that are mapped one to one (`Segment::watched`, and below 4 GiB) and domain 0's; what must not get
    // there was held back.
    unsafe {
        match width {
            1 => (address as *mut u8).write_volatile(value as u8),
            2 => (address as *mut u16).write_volatile(value as u16),
            _ => (address as *mut u32).write_volatile(value),
        }
    }
}
