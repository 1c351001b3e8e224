//! The rest of a vCPU's state, which each vendor keeps in a structure of its own.

use super::Vcpu;
use crate::address::HostPhysical;
use crate::vendor::{Exit, Vendor, svm};

/// The accessors that a vendor supplies, in a module of the same shape for each.
macro_rules! state {
    (read: $($(#[$documentation:meta])* fn $name:ident(&self $(, $argument:ident: $kind:ty)*) -> $result:ty;)*) => {
        impl Vcpu {
            $($(#[$documentation])*
            #[inline]
            #[must_use]
            pub fn $name(&self $(, $argument: $kind)*) -> $result {
                match Vendor::current() {
                    Vendor::Svm => svm::state::$name(self $(, $argument)*),
                }
            })*
        }
    };
    (write: $($(#[$documentation:meta])* fn $name:ident(&mut self $(, $argument:ident: $kind:ty)*);)*) => {
        impl Vcpu {
            $($(#[$documentation])*
            #[inline]
            pub fn $name(&mut self $(, $argument: $kind)*) {
                match Vendor::current() {
                    Vendor::Svm => svm::state::$name(self $(, $argument)*),
                }
            })*
        }
    };
}

state! {
    read:
    /// Why it exited.
    fn exit(&self) -> Exit;
    /// RIP.
    fn rip(&self) -> u64;
    /// RSP.
    fn rsp(&self) -> u64;
    /// RAX.
    fn rax(&self) -> u64;
    /// RFLAGS.
    fn rflags(&self) -> u64;
    /// CR0.
    fn cr0(&self) -> u64;
    /// CR3.
    fn cr3(&self) -> u64;
    /// CR4.
    fn cr4(&self) -> u64;
    /// EFER as the guest sees it.
    fn efer(&self) -> u64;
    /// Current privilege level.
    fn cpl(&self) -> u8;
    /// Whether it executes 64-bit code.
    fn is_64_bit(&self) -> bool;
    /// Bits of the default operand and address size: 16, 32 or 64.
    fn code_bits(&self) -> u8;
    /// Base of segment register `number` (0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS). Right only while this core runs the vCPU.
    fn segment_base(&self, number: u8) -> u64;
    /// The address of the page fault that it exited with.
    fn fault_address(&self) -> u64;
    /// Whether an event waits to be delivered at the next entry.
    fn has_injection(&self) -> bool;
    /// The vector of the exception that waits to be delivered at the next entry.
    fn pending_exception(&self) -> Option<u8>;
    /// The address of the next instruction, if the hardware tells it.
    fn next_rip(&self) -> Option<u64>;
}

state! {
    write:
    /// Sets RIP.
    fn set_rip(&mut self, value: u64);
    /// Sets RSP.
    fn set_rsp(&mut self, value: u64);
    /// Sets RAX.
    fn set_rax(&mut self, value: u64);
    /// Sets RFLAGS.
    fn set_rflags(&mut self, value: u64);
    /// Sets CR2.
    fn set_cr2(&mut self, value: u64);
    /// Sets EFER, as the guest would.
    fn set_efer(&mut self, value: u64);
    /// Ends the instruction that exited: RIP moves to `rip`, an interrupt shadow ends.
    fn advance_to(&mut self, rip: u64);
    /// Delivers an exception at the next entry, with the error code that it pushes.
    fn inject_exception(&mut self, vector: u8, error: Option<u32>);
    /// Delivers the trap of a single step at the next entry.
    fn inject_single_step(&mut self);
    /// Makes the next entry flush every address space.
    fn flush_at_entry(&mut self);
    /// Makes the next entry flush the vCPU's address space, at least.
    fn flush_space_at_entry(&mut self);
    /// Sets the address-space number.
    fn set_address_space(&mut self, space: u32);
    /// Sets the root of the nested tables and the address-space number.
    fn set_nested_root(&mut self, root: HostPhysical, space: u32);
    /// Puts it where a start-up at this page does (Intel SDM volume 3, section 9.4.4).
    fn reset_to_real_mode(&mut self, page: u8);
    /// Puts it into flat 32-bit mode without paging, as the Linux boot protocol wants.
    fn reset_to_flat_mode(&mut self, rip: u64);
    /// Sees to it that domain 0's next HLT or MWAIT exits, or does not.
    fn intercept_rest(&mut self, intercept: bool);
    /// Sees to it that domain 0's next access to any port exits, or only to those that always do.
    fn intercept_all_ports(&mut self, intercept: bool);
    /// Sees to it that the next IRET exits, or does not.
    fn intercept_interrupt_return(&mut self, intercept: bool);
}
