//! A vCPU: the registers of one virtual processor while it does not run.
//!
//! One page holds the general registers and the vector state; the vendor's control structure is another. At every
//! exit all of it is saved, so that the monitor's own code may use any register; what only VMLOAD and VMSAVE move (FS,
//! GS, TR, LDTR, the system-call registers) stays in the CPU until the core runs another vCPU.
//!
//! What must hold: a vCPU is touched by one core at a time, the one that runs it or has it stopped.

mod register;
mod state;

use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU32, Ordering};

use adyton_x86::flags::INTERRUPT;

use crate::address::{HostPhysical, PAGE_SIZE};
use crate::domain::report::Operands;
use crate::domain::seat::Seat;
use crate::frames::FRAMES;
use crate::scrub;
use crate::vendor::{Vendor, svm};

pub use self::register::Register;

/// Bytes for the vector state: all components up to AVX-512 and protection keys (CPUID leaf 0Dh).
pub const VECTOR_SIZE: usize = 3072;

/// Components of the vector state that the monitor saves: x87, SSE, AVX, bounds, AVX-512, protection keys.
pub const VECTOR_COMPONENTS: u32 = 0x2ff;

/// The components that a domain other than domain 0 sees and begins with: x87, SSE, AVX.
pub const DOMAIN_COMPONENTS: u32 = 7;

/// The components that this machine has of those, 0 if it has no XSAVE.
static COMPONENTS: AtomicU32 = AtomicU32::new(0);

/// Where PKRU stands in the XSAVE area, 0 if it has none.
static KEYS_OFFSET: AtomicU32 = AtomicU32::new(0);

/// Where XSAVE notes which components are in use, and the bit of component 9, PKRU.
const HEADER_OFFSET: usize = 512;
const KEYS_IN_BYTE_1: u8 = 1 << 1;

/// Whose vCPU it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Owner {
    /// Domain 0.
    Domain0,
    /// Any other domain.
    Domain,
}

/// The page. What assembly reads has its offset asserted below.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Vcpu {
    /// By [`Register::place`]; RAX and RSP may live in the vendor's structure, so use [`Vcpu::register`].
    pub(crate) registers: [u64; 16],
    /// The vendor's control structure.
    pub(crate) control: HostPhysical,
    /// The guest's XCR0 at its last exit.
    pub(crate) guest_components: u32,
    /// What the monitor runs with, and saves; 0 without XSAVE.
    pub(crate) all_components: u32,
    owner: Owner,
    /// Domain 0's, where there are enclaves: the control structure of the mode that it is not in.
    pub(crate) other_control: HostPhysical,
    /// It is in enclave mode.
    pub(crate) is_inside: bool,
    /// An NMI was delivered, and its IRET has not come yet.
    nmi_masked: bool,
    /// Its domain, and how it was entered.
    pub seat: Seat,
    reserved: [u8; 1024 - 256 - size_of::<Seat>()],
    /// The XSAVE area.
    pub(crate) vector: [u8; VECTOR_SIZE],
}

const _: () = {
    assert!(size_of::<Vcpu>() == PAGE_SIZE as usize);
    assert!(offset_of!(Vcpu, vector) % 64 == 0);
    assert!(offset_of!(Vcpu, seat) == 256);
    assert!(offset_of!(Vcpu, registers) % align_of::<Operands>() == 0);
    assert!((Register::Rdx.place() * 8).is_multiple_of(align_of::<Operands>()));
    assert!(Register::R11.place() == Register::Rdx.place() + 5);
};

/// Notes which vector state the CPU has, and where PKRU stands in the XSAVE area (0: nowhere).
pub fn set_components(components: u32, keys_offset: u32) {
    COMPONENTS.store(components, Ordering::Relaxed);
    KEYS_OFFSET.store(keys_offset, Ordering::Relaxed);
}

/// The components of vector state that the monitor saves and restores.
#[must_use]
pub fn components() -> u32 {
    COMPONENTS.load(Ordering::Relaxed)
}

impl Vcpu {
    /// A vCPU with cleared registers, or `None` if the reserve has no two pages left.
    #[must_use]
    pub fn create(owner: Owner) -> Option<&'static mut Self> {
        let page = FRAMES.allocate()?;
        let Some(control) = FRAMES.allocate() else {
            // SAFETY: just allocated.
            unsafe { FRAMES.free(page) };
            return None;
        };
        // SAFETY: the page is zeroed, which is a valid value of every field, and belongs to this vCPU from now on.
        let vcpu = unsafe { &mut *(page.value() as *mut Self) };
        vcpu.control = control;
        vcpu.owner = owner;
        vcpu.all_components = components();
        vcpu.reset_vector_state();
        if owner == Owner::Domain {
            scrub::note_vcpu(vcpu);
        }
        Some(vcpu)
    }

    /// One on the host, where nothing runs it.
    #[cfg(test)]
    pub fn on_host(owner: Owner) -> &'static mut Self {
        // SAFETY: all zeros is a valid value of both.
        let (vcpu, control) = unsafe {
            (
                Box::<Self>::new_zeroed().assume_init(),
                Box::<adyton_x86::svm::Vmcb>::new_zeroed().assume_init(),
            )
        };
        let vcpu = Box::leak(vcpu);
        vcpu.control = HostPhysical(&raw const *Box::leak(control) as u64);
        vcpu.owner = owner;
        vcpu
    }

    /// Gives its pages back, cleared: free pages are not looked at when the machine ends.
    ///
    /// # Safety
    /// No core runs it or refers to it any more.
    pub unsafe fn destroy(&'static mut self) {
        self.clear_registers();
        scrub::forget_vcpu(self);
        let (page, control) = (HostPhysical(&raw const *self as u64), self.control);
        // SAFETY: both came from there, and nothing refers to them any more.
        unsafe {
            FRAMES.free(control);
            FRAMES.free(page);
        }
    }

    /// Whose vCPU it is.
    #[inline]
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Whether interrupts are on (RFLAGS.IF).
    #[inline]
    #[must_use]
    pub fn has_interrupts(&self) -> bool {
        self.rflags() & INTERRUPT != 0
    }

    /// The vector state that a reset gives: only the control words are not zero, and XSAVE's header says "initial".
    pub fn reset_vector_state(&mut self) {
        self.vector.fill(0);
        self.guest_components = 1;
        let words = [
            (0, 0x037f_u16.to_le_bytes()),
            (24, 0x1f80_u16.to_le_bytes()),
        ];
        for (offset, word) in words {
            if let Some(place) = self.vector.get_mut(offset..offset + 2) {
                place.copy_from_slice(&word);
            }
        }
    }

    /// Puts the saved x87 state into the processor, which otherwise keeps it while the same vCPU goes on.
    pub fn reload_x87(&mut self) {
        const X87: u32 = 1;
        if components() != 0 {
            // SAFETY: the area is valid, as XSAVE wrote it or `enclave::extended` changed it; the monitor uses no x87 state.
            unsafe {
                core::arch::asm!(
                    "xrstor64 [{}]",
                    in(reg) self.vector.as_ptr(),
                    in("eax") X87,
                    in("edx") 0,
                    options(nostack)
                );
            }
        }
    }

    /// Whether it is in enclave mode.
    #[inline]
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.is_inside
    }

    /// Zeroes what it keeps of an enclave, for the machine ends.
    pub fn forget_enclave(&mut self) {
        if self.is_inside {
            self.clear_registers();
            core::mem::swap(&mut self.control, &mut self.other_control);
            self.is_inside = false;
        }
        if self.other_control.value() != 0 {
            // SAFETY: the control structure is this vCPU's own, and not entered any more.
            unsafe {
                core::ptr::write_bytes(
                    self.other_control.value() as *mut u8,
                    0,
                    PAGE_SIZE as usize,
                );
            }
        }
    }

    /// Zeroes what its guest had in registers.
    pub fn clear_registers(&mut self) {
        self.registers.fill(0);
        self.reset_vector_state();
        self.set_rax(0);
        self.set_rsp(0);
        self.set_rip(0);
        self.set_cr2(0);
    }

    /// A general register.
    #[inline]
    #[must_use]
    pub fn register(&self, register: Register) -> u64 {
        match register {
            Register::Rax => self.rax(),
            Register::Rsp => self.rsp(),
            // There are 16 places, so the index is always inside.
            other => self.registers[other.place() & 15],
        }
    }

    /// Sets a general register.
    #[inline]
    pub fn set_register(&mut self, register: Register, value: u64) {
        match register {
            Register::Rax => self.set_rax(value),
            Register::Rsp => self.set_rsp(value),
            other => self.registers[other.place() & 15] = value,
        }
    }

    /// RDI, RSI, RDX, RCX, R8, R9: the operands of an exit and the words of a reply.
    #[inline]
    #[must_use]
    pub fn operands(&self) -> *const Operands {
        (&raw const self.registers).cast()
    }

    /// [`Self::operands`], to be replaced by a reply.
    #[inline]
    pub fn operands_mut(&mut self) -> *mut Operands {
        (&raw mut self.registers).cast()
    }

    /// The registers in which a caller gets the operands of an exit: RDX, RCX, R8 to R11.
    #[inline]
    pub fn outcome_mut(&mut self) -> *mut Operands {
        const FIRST: usize = Register::Rdx.place();
        // Still inside the array.
        self.registers.as_mut_ptr().wrapping_add(FIRST).cast()
    }

    /// All general registers by their numbers, in a straight line: owners of sandboxes get them at every exit.
    #[must_use]
    pub fn general(&self) -> [u64; 16] {
        [
            self.register(Register::Rax),
            self.register(Register::Rcx),
            self.register(Register::Rdx),
            self.register(Register::Rbx),
            self.register(Register::Rsp),
            self.register(Register::Rbp),
            self.register(Register::Rsi),
            self.register(Register::Rdi),
            self.register(Register::R8),
            self.register(Register::R9),
            self.register(Register::R10),
            self.register(Register::R11),
            self.register(Register::R12),
            self.register(Register::R13),
            self.register(Register::R14),
            self.register(Register::R15),
        ]
    }

    /// Sets all general registers.
    pub fn set_general(&mut self, values: [u64; 16]) {
        let [
            rax,
            rcx,
            rdx,
            rbx,
            rsp,
            rbp,
            rsi,
            rdi,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
        ] = values;
        self.set_register(Register::Rax, rax);
        self.set_register(Register::Rcx, rcx);
        self.set_register(Register::Rdx, rdx);
        self.set_register(Register::Rbx, rbx);
        self.set_register(Register::Rsp, rsp);
        self.set_register(Register::Rbp, rbp);
        self.set_register(Register::Rsi, rsi);
        self.set_register(Register::Rdi, rdi);
        self.set_register(Register::R8, r8);
        self.set_register(Register::R9, r9);
        self.set_register(Register::R10, r10);
        self.set_register(Register::R11, r11);
        self.set_register(Register::R12, r12);
        self.set_register(Register::R13, r13);
        self.set_register(Register::R14, r14);
        self.set_register(Register::R15, r15);
    }

    /// A general register by the number that instructions use, modulo 16.
    #[inline]
    #[must_use]
    pub fn register_by_number(&self, number: u8) -> u64 {
        self.register(Register::from_number(number))
    }

    /// Sets a general register by the number that instructions use, modulo 16.
    #[inline]
    pub fn set_register_by_number(&mut self, number: u8, value: u64) {
        self.set_register(Register::from_number(number), value);
    }

    /// Sets EDX:EAX to the halves of `value`, as RDMSR does.
    pub fn set_edx_eax(&mut self, value: u64) {
        self.set_rax(value & 0xffff_ffff);
        self.set_register(Register::Rdx, value >> 32);
    }

    /// EDX:EAX as one number, as WRMSR reads it.
    #[must_use]
    pub fn edx_eax(&self) -> u64 {
        self.register(Register::Rdx) << 32 | self.rax() & 0xffff_ffff
    }

    /// RIP behind the instruction that exited: where the hardware says, or `length` bytes on.
    #[inline]
    pub fn advance(&mut self, length: u64) {
        let next = self
            .next_rip()
            .unwrap_or_else(|| self.rip().wrapping_add(length));
        self.advance_to(if self.is_64_bit() {
            next
        } else {
            next & 0xffff_ffff
        });
    }

    /// Delivers an NMI at the next entry, unless one is being handled or another event comes first.
    pub fn inject_nmi(&mut self) -> bool {
        if self.nmi_masked || self.has_injection() {
            return false;
        }
        match Vendor::current() {
            Vendor::Svm => svm::state::inject_nmi(self),
        }
        self.nmi_masked = true;
        self.intercept_interrupt_return(true);
        true
    }

    /// The IRET that ends the handling of an NMI is about to execute.
    pub fn unmask_nmi(&mut self) {
        self.nmi_masked = false;
        self.intercept_interrupt_return(false);
    }

    /// PKRU, out of the saved vector state (Intel SDM volume 1, section 13.4: 0 while the component is initial).
    #[inline]
    #[must_use]
    pub fn protection_keys(&self) -> u32 {
        let offset = KEYS_OFFSET.load(Ordering::Relaxed) as usize;
        let in_use = self
            .vector
            .get(HEADER_OFFSET + 1)
            .is_some_and(|byte| byte & KEYS_IN_BYTE_1 != 0);
        match self
            .vector
            .get(offset..offset + 4)
            .and_then(|bytes| bytes.first_chunk())
        {
            Some(bytes) if in_use && offset != 0 => u32::from_le_bytes(*bytes),
            _ => 0,
        }
    }

    /// A page fault, with CR2.
    pub fn inject_page_fault(&mut self, address: u64, error: u32) {
        self.set_cr2(address);
        self.inject_exception(14, Some(error));
    }

    /// #GP(0).
    pub fn inject_general_protection(&mut self) {
        self.inject_exception(13, Some(0));
    }

    /// #UD.
    pub fn inject_undefined(&mut self) {
        self.inject_exception(6, None);
    }
}
