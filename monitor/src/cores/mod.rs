//! The cores: what each one knows about itself, and how they ask things of each other.
//!
//! A core finds itself by its stack: stacks are aligned to their size, and the topmost words of each
//! ([`StackEnd`]) hold the core. So the monitor needs no segment register, and a guest's stay
//! loaded while it runs; what lies below a stack is told in [`stack`].
//!
//! What must hold: the monitor runs with GIF clear (nothing interrupts it) and RFLAGS.IF set (so that a physical
//! interrupt ends a domain's run); NMIs are taken only where the core asks for them, and each one is counted.

mod attention;
mod counters;
#[cfg(all(feature = "selfcheck", not(any(test, fuzzing))))]
pub mod depth;
mod park;
mod remains;
pub mod stack;
#[cfg(not(any(test, fuzzing)))]
mod start;
pub mod topology;
pub mod whole;

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use adyton_synchronization::attention::{Attention, STOP};
use adyton_synchronization::gate::CorePlace;
use adyton_synchronization::presence::{Epoch, Presence};

use crate::address::{HostPhysical, PAGE_SIZE};
use crate::domain::context::CORE_WORDS;
use crate::frames::FRAMES;
use crate::instructions::time_stamp;
use crate::interrupts::ExceptionTables;
use crate::once::Once;
use crate::vcpu::Vcpu;
use crate::vendor::Vendor;
use crate::{apic, interrupts, machine};

pub use attention::Attended;
pub use park::Startup;
pub use remains::{clear_below, clear_stacks};
pub use stack::STACK_SIZE;
#[cfg(not(any(test, fuzzing)))]
pub use start::start_all;

/// Ticks for which a core is waited for where the clock's speed is not known.
const LEAST_PATIENCE: u64 = 100_000_000;

/// Raised by who waits for cores to leave the monitor.
pub static EPOCH: Epoch = Epoch::new();

static CORES: Once<&'static [Core]> = Once::new();

/// The topmost words of a stack.
#[derive(Debug)]
#[repr(C)]
pub struct StackEnd {
    pub(crate) core: *const Core,
    /// Counted up by the NMI handler.
    pub(crate) nmis: u64,
    reserved: [u64; 2],
}

/// Distance of [`StackEnd`] from the stack's upper end.
pub const STACK_END_SIZE: usize = size_of::<StackEnd>();
const _: () = assert!(STACK_END_SIZE == 32);

/// One core.
#[derive(Debug)]
#[repr(C, align(256))]
pub struct Core {
    /// Its number: the bootstrap core is 0.
    pub index: u32,
    /// Where it stands in the bit maps of domains.
    pub place: CorePlace,
    /// What interrupts are sent to.
    pub apic_id: u32,
    /// What it shall look at.
    attention: Attention,
    /// Whether domain 0 has it running, see [`park`].
    startup: AtomicU32,
    /// The monitor runs on it.
    started: AtomicBool,
    /// It runs nothing and never will again, see [`stop_others`].
    stopped: AtomicBool,
    /// Domain 0's logical APIC id of it (LDR and DFR), as far as it set one.
    logical_id: AtomicU32,
    destination_format: AtomicU32,
    /// Where VMRUN keeps the monitor's own state.
    pub host_save: HostPhysical,
    /// Where the monitor's own of those registers lie that an exit leaves the guest's.
    pub own_registers: HostPhysical,
    stack: HostPhysical,
    vcpu: AtomicPtr<Vcpu>,
    counters: counters::Counters,
    /// What it does when it is not domain 0's.
    whole: whole::Whole,
    /// What it runs.
    pub presence: Presence,
    /// Its own gates and task state.
    pub tables: ExceptionTables,
}

// SAFETY: what is not atomic is written before the core is published and never after.
unsafe impl Sync for Core {}

impl Core {
    /// Makes the structures of the cores with these APIC ids, the bootstrap core first.
    ///
    /// # Panics
    /// If the reserve is too small for them.
    pub fn create_all(apic_ids: impl ExactSizeIterator<Item = u32>) -> &'static [Self] {
        let count = apic_ids.len();
        let pages = ((count * size_of::<Self>()) as u64).div_ceil(PAGE_SIZE);
        let array = contiguous(pages, PAGE_SIZE);
        for (index, apic_id) in apic_ids.enumerate() {
            let core = Self::new(index as u32, apic_id);
            // SAFETY: the array has room for `count` cores and belongs to nobody else.
            unsafe { (array.value() as *mut Self).add(index).write(core) };
        }
        // SAFETY: all elements were just written; they are never moved or freed.
        let cores = unsafe { core::slice::from_raw_parts(array.value() as *const Self, count) };
        for core in cores {
            let end = core.stack_end();
            // SAFETY: the stack is fresh and not in use.
            unsafe { (*end).core = core };
        }
        CORES.set(cores);
        cores
    }

    fn new(index: u32, apic_id: u32) -> Self {
        let stack = contiguous(STACK_SIZE as u64 / PAGE_SIZE, STACK_SIZE as u64);
        Self {
            index,
            place: CorePlace::of(index, CORE_WORDS),
            apic_id,
            attention: Attention::new(),
            startup: AtomicU32::new(park::WAITING),
            started: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            logical_id: AtomicU32::new(0),
            destination_format: AtomicU32::new(u32::MAX),
            host_save: contiguous(1, PAGE_SIZE),
            own_registers: contiguous(1, PAGE_SIZE),
            stack,
            vcpu: AtomicPtr::new(core::ptr::null_mut()),
            counters: counters::Counters::default(),
            whole: whole::Whole::new(),
            presence: Presence::new(
                u16::try_from(index).expect("more cores than address spaces can be told apart on"),
                // The very last is enclave mode's.
                Vendor::current()
                    .last_address_space()
                    .saturating_sub(1)
                    .max(1),
            ),
            tables: interrupts::tables(stack::fault_stack_end(stack.value())),
        }
    }

    /// Where its stack begins, at the upper end.
    #[must_use]
    pub fn stack_end(&self) -> *mut StackEnd {
        (self.stack.value() + (STACK_SIZE - STACK_END_SIZE) as u64) as *mut StackEnd
    }

    /// The pages below its stacks that are not to be mapped.
    #[must_use]
    pub const fn guards(&self) -> [u64; 2] {
        stack::guards(self.stack.value())
    }

    /// How many NMIs the handler has taken on this core since the last call. Only for the core itself.
    fn take_nmis(&self) -> u64 {
        // SAFETY: only this core's NMI handler writes the word too, and none can come while GIF is clear.
        unsafe { core::mem::replace(&mut (*self.stack_end()).nmis, 0) }
    }

    /// Domain 0's vCPU on this core.
    #[must_use]
    pub fn domain0_vcpu(&self) -> *mut Vcpu {
        self.vcpu.load(Ordering::Acquire)
    }

    /// Says which vCPU is domain 0's on this core.
    pub fn set_domain0_vcpu(&self, vcpu: *mut Vcpu) {
        self.vcpu.store(vcpu, Ordering::Release);
    }

    /// Whether the monitor runs on it: a core that never came up is left alone.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Notes that the monitor runs on it.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Notes what domain 0 wrote to the logical destination register of this core.
    pub fn set_logical_id(&self, value: u32) {
        self.logical_id.store(value, Ordering::Relaxed);
    }

    /// Notes what domain 0 wrote to the destination format register of this core.
    pub fn set_destination_format(&self, value: u32) {
        self.destination_format.store(value, Ordering::Relaxed);
    }

    /// Whether a logical xAPIC destination means this core (Intel SDM volume 3, section 11.6.2.2).
    #[must_use]
    pub fn has_logical_id(&self, destination: u8) -> bool {
        let own = (self.logical_id.load(Ordering::Relaxed) >> 24) as u8;
        if self.destination_format.load(Ordering::Relaxed) >> 28 == 0xf {
            return own & destination != 0;
        }
        let cluster = destination >> 4;
        (cluster == 0xf || cluster == own >> 4) && own & destination & 0xf != 0
    }
}

/// Stops every other core for good, before the machine ends: whoever scrubs memory must be the last to write it.
///
/// Takes no lock and works after a panic too. A core that does not come within a tenth of a second (it may be the one that
/// waits for a lock that this one holds) is not waited for any longer: then it is in the monitor, and runs no domain.
pub fn stop_others() {
    let own = apic::id();
    let others = || {
        all()
            .iter()
            .filter(|core| core.apic_id != own && core.is_started())
    };
    for core in others() {
        core.kick(STOP);
    }
    let patience = machine::try_get().map_or(0, |machine| machine.ticks_per_second / 10);
    let begin = time_stamp();
    while others().any(|core| !core.stopped.load(Ordering::Acquire)) {
        if time_stamp().saturating_sub(begin) > patience.max(LEAST_PATIENCE) {
            return;
        }
        core::hint::spin_loop();
    }
}

/// All cores; empty before [`Core::create_all`].
#[must_use]
pub fn all() -> &'static [Core] {
    CORES.try_get().copied().unwrap_or(&[])
}

fn contiguous(pages: u64, alignment: u64) -> HostPhysical {
    FRAMES
        .allocate_contiguous(pages, alignment)
        .expect("the reserve is too small for the cores")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One on the host, that waits for a start-up.
    pub(crate) fn core_at(index: u32, apic_id: u32) -> Core {
        Core {
            index,
            place: CorePlace::of(index, 1),
            apic_id,
            attention: Attention::new(),
            startup: AtomicU32::new(park::WAITING),
            started: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
            logical_id: AtomicU32::new(0),
            destination_format: AtomicU32::new(u32::MAX),
            host_save: HostPhysical(0),
            own_registers: HostPhysical(0),
            stack: HostPhysical(0),
            vcpu: AtomicPtr::new(core::ptr::null_mut()),
            counters: counters::Counters::default(),
            whole: whole::Whole::new(),
            presence: Presence::new(0, 1),
            tables: ExceptionTables::new(|_| 0, 0),
        }
    }

    #[test]
    fn logical_destinations() {
        let core = core_at(0, 0);
        core.set_logical_id(0x0200_0000);
        assert!(core.has_logical_id(2) && core.has_logical_id(0xff) && !core.has_logical_id(1));
        core.set_destination_format(0x0fff_ffff);
        core.set_logical_id(0x2400_0000);
        assert!(core.has_logical_id(0x24) && core.has_logical_id(0xf4));
        assert!(!core.has_logical_id(0x34) && !core.has_logical_id(0x21));
    }
}
