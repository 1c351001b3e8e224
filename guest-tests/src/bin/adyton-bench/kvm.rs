//! The peer: one `KVM_RUN` from user space into a real-mode guest, its port write, and back.
#![allow(unsafe_code)]

use std::arch::x86_64::_rdtsc;

use adyton_guest_tests::raw;
use anyhow::{Context, Result, bail};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit};

/// `again: out 0x10, al; jmp again`.
const GUEST: [u8; 4] = [0xe6, 0x10, 0xeb, 0xfc];
const ENTRY: u64 = 0x1000;
const ROUNDS: u32 = 200;

/// Fewest TSC ticks of a round trip.
pub fn round_trip() -> Result<u64> {
    let kvm = Kvm::new().context("/dev/kvm: load kvm_amd, on a machine without the monitor")?;
    let machine = kvm.create_vm()?;
    let memory = raw::anonymous_page()?;
    raw::store(memory, u64::from(u32::from_le_bytes(GUEST)));
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: ENTRY,
        memory_size: 4096,
        userspace_addr: memory,
    };
    // SAFETY: the page stays mapped until this process ends, and no reference points to it.
    unsafe { machine.set_user_memory_region(region) }?;
    let mut vcpu = machine.create_vcpu(0)?;
    let mut segments = vcpu.get_sregs()?;
    segments.cs.base = 0;
    segments.cs.selector = 0;
    vcpu.set_sregs(&segments)?;
    let mut registers = vcpu.get_regs()?;
    registers.rip = ENTRY;
    registers.rflags = 2;
    vcpu.set_regs(&registers)?;
    let mut fewest = u64::MAX;
    for _ in 0..ROUNDS {
        // SAFETY: reading the time stamp has no effect.
        let before = unsafe { _rdtsc() };
        let exit = vcpu.run()?;
        // SAFETY: as above.
        let after = unsafe { _rdtsc() };
        let VcpuExit::IoOut(..) = exit else {
            bail!("KVM exited otherwise: {exit:?}")
        };
        fewest = fewest.min(after - before);
    }
    Ok(fewest)
}
