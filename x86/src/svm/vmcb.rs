//! The virtual machine control block: APM volume 2, appendix B.

use core::mem::{offset_of, size_of};

use super::{ExitCode, Intercept1, Intercept2};

/// A segment register in the state save area: APM volume 2, section 15.5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Bits 55:52 and 47:40 of the descriptor, packed.
    pub attributes: u16,
    /// Limit in bytes, granularity already applied.
    pub limit: u32,
    /// Base.
    pub base: u64,
}

impl Segment {
    /// Attribute bit L: a 64-bit code segment.
    pub const LONG: u16 = 1 << 9;
    /// Attribute bit D/B: 32-bit default operand size.
    pub const BIG: u16 = 1 << 10;
}

/// An event for EVENTINJ, or one found in EXITINTINFO: APM volume 2, section 15.20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Event(pub u64);

impl Event {
    /// No event.
    pub const NONE: Self = Self(0);
    /// A non-maskable interrupt.
    pub const NMI: Self = Self(Self::VALID | 2 << 8 | 2);
    const VALID: u64 = 1 << 31;
    const WITH_ERROR: u64 = 1 << 11;

    /// Exception `vector`, with the error code that it pushes, if any.
    #[must_use]
    pub const fn exception(vector: u8, error: Option<u32>) -> Self {
        let event = Self::VALID | 3 << 8 | vector as u64;
        match error {
            Some(code) => Self(event | Self::WITH_ERROR | (code as u64) << 32),
            None => Self(event),
        }
    }

    /// External interrupt `vector`.
    #[must_use]
    pub const fn interrupt(vector: u8) -> Self {
        Self(Self::VALID | vector as u64)
    }

    /// Whether there is an event at all.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Its vector.
    #[must_use]
    pub const fn vector(self) -> u8 {
        self.0 as u8
    }

    /// Its type: 0 interrupt, 2 NMI, 3 exception, 4 software interrupt.
    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.0 >> 8) as u8 & 7
    }
}

/// The control area and the state save area, one page.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Vmcb {
    /// Low half: reads of CR0-CR15; high half: writes.
    pub intercept_control_registers: u32,
    /// Low half: reads of DR0-DR15; high half: writes.
    pub intercept_debug_registers: u32,
    /// One bit an exception vector.
    pub intercept_exceptions: u32,
    /// First vector of intercepts.
    pub intercept1: Intercept1,
    /// Second vector of intercepts.
    pub intercept2: Intercept2,
    /// Third vector: INVLPGB, INVPCID and later ones.
    pub intercept3: u32,
    reserved_018: [u8; 0x28],
    /// Physical address of the I/O permission map.
    pub io_map: u64,
    /// Physical address of the MSR permission map.
    pub msr_map: u64,
    /// Added to the time-stamp counter that the guest reads.
    pub tsc_offset: u64,
    /// Address-space identifier; 0 is the host's.
    pub asid: u32,
    /// What VMRUN flushes, see [`tlb_control`].
    pub tlb_control: u32,
    /// Virtual interrupts, see [`virtual_interrupt`].
    pub interrupt_control: u64,
    /// Bit 0: the guest is in an interrupt shadow.
    pub interrupt_shadow: u64,
    /// Why the guest exited.
    pub exit_code: ExitCode,
    /// EXITINFO1.
    pub exit_information1: u64,
    /// EXITINFO2.
    pub exit_information2: u64,
    /// The event that was being delivered when the exit came.
    pub exit_event: Event,
    /// Bit 0: nested paging.
    pub nested_paging: u64,
    reserved_098: [u8; 0x10],
    /// The event to deliver at entry.
    pub inject: Event,
    /// Root of the nested page tables.
    pub nested_root: u64,
    /// Last-branch and VMSAVE virtualisation.
    pub virtualization: u64,
    /// What the CPU may take from its cache of this VMCB.
    pub clean: u32,
    reserved_0c4: u32,
    /// The next instruction's address, where the CPU saves it (CPUID 8000_000A EDX bit 3).
    pub next_rip: u64,
    /// Number of instruction bytes fetched, with decode assists.
    pub fetched_count: u8,
    /// The bytes.
    pub fetched: [u8; 15],
    reserved_0e0: [u8; 0x300],
    /// The host's own, which the CPU leaves alone.
    pub host_word: u64,
    reserved_3e8: [u8; 0x18],
    /// The guest's registers.
    pub save: SaveArea,
}

/// The state save area: APM volume 2, table B-2. Fields marked *swapped* are moved by VMLOAD and VMSAVE only.
#[derive(Debug)]
#[repr(C)]
pub struct SaveArea {
    /// ES.
    pub es: Segment,
    /// CS.
    pub cs: Segment,
    /// SS.
    pub ss: Segment,
    /// DS.
    pub ds: Segment,
    /// FS (swapped).
    pub fs: Segment,
    /// GS (swapped).
    pub gs: Segment,
    /// GDTR: only limit and base.
    pub gdtr: Segment,
    /// LDTR (swapped).
    pub ldtr: Segment,
    /// IDTR: only limit and base.
    pub idtr: Segment,
    /// TR (swapped).
    pub tr: Segment,
    reserved_0a0: [u8; 0x2b],
    /// Current privilege level.
    pub cpl: u8,
    reserved_0cc: u32,
    /// EFER; SVME must be set.
    pub efer: u64,
    reserved_0d8: [u8; 0x70],
    /// CR4.
    pub cr4: u64,
    /// CR3.
    pub cr3: u64,
    /// CR0.
    pub cr0: u64,
    /// DR7.
    pub dr7: u64,
    /// DR6.
    pub dr6: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// RIP.
    pub rip: u64,
    reserved_180: [u8; 0x58],
    /// RSP.
    pub rsp: u64,
    reserved_1e0: [u8; 0x18],
    /// RAX.
    pub rax: u64,
    /// STAR (swapped).
    pub star: u64,
    /// LSTAR (swapped).
    pub lstar: u64,
    /// CSTAR (swapped).
    pub cstar: u64,
    /// SFMASK (swapped).
    pub sfmask: u64,
    /// `KernelGSBase` (swapped).
    pub kernel_gs_base: u64,
    /// `SYSENTER_CS` (swapped).
    pub sysenter_cs: u64,
    /// `SYSENTER_ESP` (swapped).
    pub sysenter_esp: u64,
    /// `SYSENTER_EIP` (swapped).
    pub sysenter_eip: u64,
    /// CR2.
    pub cr2: u64,
    reserved_248: [u8; 0x20],
    /// The guest's PAT, under nested paging.
    pub pat: u64,
    /// DEBUGCTL.
    pub debug_control: u64,
    reserved_278: [u8; 0x988],
}

/// Values of [`Vmcb::tlb_control`]: APM volume 2, section 15.16.2.
pub mod tlb_control {
    /// Flush nothing.
    pub const NOTHING: u32 = 0;
    /// Flush every address space.
    pub const EVERYTHING: u32 = 1;
    /// Flush this guest's address space (CPUID 8000_000A EDX bit 6).
    pub const SPACE: u32 = 3;
}

/// Bits of [`Vmcb::interrupt_control`]: APM volume 2, section 15.21.
pub mod virtual_interrupt {
    /// The guest's RFLAGS.IF masks virtual interrupts only; physical ones answer to the host's.
    pub const MASKING: u64 = 1 << 24;
}

const _: () = {
    assert!(size_of::<Vmcb>() == 4096);
    assert!(size_of::<Segment>() == 16);
    assert!(size_of::<SaveArea>() == 0xc00);
    assert!(offset_of!(Vmcb, io_map) == 0x40);
    assert!(offset_of!(Vmcb, msr_map) == 0x48);
    assert!(offset_of!(Vmcb, asid) == 0x58);
    assert!(offset_of!(Vmcb, interrupt_control) == 0x60);
    assert!(offset_of!(Vmcb, exit_code) == 0x70);
    assert!(offset_of!(Vmcb, exit_event) == 0x88);
    assert!(offset_of!(Vmcb, nested_paging) == 0x90);
    assert!(offset_of!(Vmcb, inject) == 0xa8);
    assert!(offset_of!(Vmcb, nested_root) == 0xb0);
    assert!(offset_of!(Vmcb, clean) == 0xc0);
    assert!(offset_of!(Vmcb, next_rip) == 0xc8);
    assert!(offset_of!(Vmcb, fetched_count) == 0xd0);
    assert!(offset_of!(Vmcb, host_word) == 0x3e0);
    assert!(offset_of!(Vmcb, save) == 0x400);
    assert!(offset_of!(SaveArea, tr) == 0x90);
    assert!(offset_of!(SaveArea, cpl) == 0xcb);
    assert!(offset_of!(SaveArea, efer) == 0xd0);
    assert!(offset_of!(SaveArea, cr4) == 0x148);
    assert!(offset_of!(SaveArea, rflags) == 0x170);
    assert!(offset_of!(SaveArea, rip) == 0x178);
    assert!(offset_of!(SaveArea, rsp) == 0x1d8);
    assert!(offset_of!(SaveArea, rax) == 0x1f8);
    assert!(offset_of!(SaveArea, star) == 0x200);
    assert!(offset_of!(SaveArea, cr2) == 0x240);
    assert!(offset_of!(SaveArea, pat) == 0x268);
    assert!(offset_of!(SaveArea, debug_control) == 0x270);
};
