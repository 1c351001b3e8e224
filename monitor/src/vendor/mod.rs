//! The seam between the monitor and the CPU vendor's virtualization extension.
//!
//! Which extension the machine has is found out once ([`Vendor::detect`]); everything above this module speaks of
//! [`Exit`]s, of [`Vcpu`]s and their accessors, and of nothing that a manual of one vendor defines.

mod exit;
pub mod svm;

pub use exit::{Exit, Io, NestedFault};

use crate::address::HostPhysical;
use crate::cores::Core;
use crate::nested::Format;
use crate::vcpu::Vcpu;

/// Where a domain's vCPU begins: 64-bit mode, privilege level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// RIP.
    pub rip: u64,
    /// RSP.
    pub rsp: u64,
    /// The root of the domain's own page tables (guest-physical).
    pub cr3: u64,
    /// RDI.
    pub argument: u64,
}

/// What a vCPU of domain 0's enters enclave mode with; its other registers stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnclaveEntry {
    /// The tables that translate linear addresses to host-physical ones.
    pub root: HostPhysical,
    /// FS.
    pub fs: adyton_sgx::Segment,
    /// GS.
    pub gs: adyton_sgx::Segment,
    /// Its breakpoints stay on.
    pub debug: bool,
}

/// Registers that a vCPU of domain 0's has in enclave mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedEnclave(svm::enclave::Prepared);

/// A single step that has begun, with what is to be put back after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step(svm::Step);

/// A virtualization extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// AMD's Secure Virtual Machine.
    Svm,
}

/// Why the monitor cannot run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// The CPU has no extension that the monitor knows.
    NoExtension,
    /// There is one, but the firmware has locked it.
    Locked,
    /// It cannot do nested paging.
    NoNestedPaging,
}

impl Vendor {
    /// The extension of this machine.
    ///
    /// # Errors
    /// If there is none that the monitor can use.
    pub fn detect() -> Result<Self, Unsupported> {
        svm::detect().map(|()| Self::Svm)
    }

    /// Which extension the machine has. Known at compile time as long as there is one.
    #[inline]
    #[must_use]
    pub const fn current() -> Self {
        Self::Svm
    }

    /// The format of its nested page tables.
    #[must_use]
    pub const fn nested_format(self) -> Format {
        match self {
            Self::Svm => Format::Npt,
        }
    }

    /// The greatest number that tells one guest's translations from another's in a core's cache.
    #[must_use]
    pub fn last_address_space(self) -> u32 {
        match self {
            Self::Svm => svm::last_address_space(),
        }
    }

    /// Switches the extension on, on this core.
    ///
    /// # Safety
    /// Once a core, while the monitor boots.
    pub unsafe fn enable(self, core: &Core) {
        match self {
            // SAFETY: as the caller warrants.
            Self::Svm => unsafe { svm::enable(core) },
        }
    }

    /// Fills in what domain 0's vCPUs intercept and may touch.
    pub fn configure_domain0(self, vcpu: &mut Vcpu, nested_root: HostPhysical) {
        match self {
            Self::Svm => svm::domain0::configure(vcpu, nested_root),
        }
    }

    /// Makes a vCPU of domain 0's exit at undefined opcodes and gives it an enclave mode. `false` if there is no page for that.
    #[must_use]
    pub fn offer_enclaves(self, vcpu: &mut Vcpu) -> bool {
        match self {
            Self::Svm => svm::enclave::offer(vcpu),
        }
    }

    /// FS and GS as the vCPU had them when it exited.
    #[inline]
    #[must_use]
    pub fn hidden_segments(self, vcpu: &Vcpu) -> (adyton_sgx::Segment, adyton_sgx::Segment) {
        match self {
            Self::Svm => svm::enclave::segments(vcpu),
        }
    }

    /// Has what [`Self::hidden_segments`] tells, on the quick way, where no exit has kept it.
    #[inline]
    pub fn keep_hidden_segments(self, vcpu: &mut Vcpu) {
        match self {
            Self::Svm => svm::enclave::keep_segments(vcpu),
        }
    }

    /// Puts FS and GS of the mode that the vCPU is in now into the processor, on the quick way, where no entry does.
    #[inline]
    pub fn use_hidden_segments(self, vcpu: &mut Vcpu) {
        match self {
            Self::Svm => svm::enclave::use_segments(vcpu),
        }
    }

    /// What [`Self::enter_enclave`] needs, of a vCPU outside enclave mode: good as long as its control registers stay what they are.
    #[inline]
    #[must_use]
    pub fn prepare_enclave(self, vcpu: &Vcpu, entry: &EnclaveEntry) -> PreparedEnclave {
        match self {
            Self::Svm => PreparedEnclave(svm::enclave::prepare(vcpu, entry)),
        }
    }

    /// Changes domain 0's vCPU on this core to enclave mode. General registers are set after.
    #[inline]
    pub fn enter_enclave(self, vcpu: &mut Vcpu, prepared: &PreparedEnclave) {
        match self {
            Self::Svm => svm::enclave::enter(vcpu, &prepared.0),
        }
    }

    /// Changes it back; with `debug` what the breakpoints have to say comes along.
    #[inline]
    pub fn leave_enclave(self, vcpu: &mut Vcpu, debug: bool) {
        match self {
            Self::Svm => svm::enclave::leave(vcpu, debug),
        }
    }

    /// Fills in what a vCPU of another domain intercepts, and where it begins. `exceptions`: one bit for each that is the
    /// parent's.
    pub fn configure_domain(
        self,
        vcpu: &mut Vcpu,
        nested_root: HostPhysical,
        exceptions: u32,
        state: EntryState,
    ) {
        match self {
            Self::Svm => svm::domain::configure(vcpu, nested_root, exceptions, state),
        }
    }

    /// Prepares `vcpu` to execute exactly one instruction under the nested tables at `nested_root`. Until [`Self::end_step`]
    /// physical interrupts are held, every exception exits, and nothing may be injected.
    #[must_use]
    pub fn begin_step(self, vcpu: &mut Vcpu, nested_root: HostPhysical) -> Step {
        match self {
            Self::Svm => Step(svm::begin_step(vcpu, nested_root)),
        }
    }

    /// Puts back what the step changed. `exit` says why the vCPU exited, if it did. Whether the instruction was executed;
    /// the debug trap that the guest itself is due then is injected.
    pub fn end_step(self, vcpu: &mut Vcpu, step: Step, exit: Option<Exit>) -> bool {
        match self {
            Self::Svm => svm::end_step(vcpu, step.0, exit),
        }
    }

    /// Runs `first` on this core, then whatever the exit handlers say.
    ///
    /// # Safety
    /// The extension is on, `first` is configured, and no other core runs it.
    #[cfg(not(any(test, fuzzing)))]
    pub unsafe fn run(self, core: &'static Core, first: &mut Vcpu) -> ! {
        match self {
            // SAFETY: as the caller warrants.
            Self::Svm => unsafe { svm::run::start(core, first) },
        }
    }
}
