//! EENTER and EEXIT as they mostly are: by a thread that has entered like this before, with nothing changed since, and back.
//!
//! A [`Known`] entry is kept with the space of its TCS. It says what an EENTER was found good by: the program's registers and its mode
//! (compared here), the operating system's tables (the space's list, which has the walks to the instruction, the TCS and the frame besides those to
//! each page), the EPCM and the TCS (`adyton_sgx::Precedent`). Whatever is not the same goes the long way, [`super::undefined`] and
//! [`super::inside`], which finds out everything and notes it anew.
//!
//! What must hold: what refuses here has changed nothing; what is done here is what the long way would do. FS, GS and the other registers that
//! an exit leaves in the processor stay there until the mode changes.

use arrayvec::ArrayVec;

use adyton_sgx::leaf::Enclu;
use adyton_sgx::thread::XSAVE_PAGES;
use adyton_sgx::{Precedent, Processor, Thread, exit_to};

use super::caller::Caller;
use super::cores::{State, here};
use super::epc::{self, Place};
use super::space::Walk;
use super::spaces::Taken;
use super::trails::{Circumstances, Trails};
use super::undefined::{ENCLU, LENGTH, PROGRAM};
use crate::address::{GuestPhysical, PAGE_SIZE};
use crate::cores::Core;
use crate::domain::memory::CallerMemory;
use crate::guest::walk::Kind;
use crate::vcpu::{Owner, Register, Vcpu, components};
use crate::vendor::{PreparedEnclave, Vendor};

const SINGLE_STEP: u64 = 1 << 8;

/// Walks that an entry depends on, at most: to the instruction, the TCS, the frame.
const WALKS: usize = 3 + XSAVE_PAGES;

/// An instruction's bytes and one more, which are read at once.
type Code = [u8; ENCLU.len() + 1];

/// Whether they lie in one page.
#[inline]
fn has_room(rip: u64) -> bool {
    rip % PAGE_SIZE <= PAGE_SIZE - size_of::<Code>() as u64
}

/// Whether it is ENCLU. Should another core change a byte meanwhile, one or the other is read.
///
/// # Safety
/// It is RAM.
#[inline(always)]
unsafe fn is_enclu(code: *const Code) -> bool {
    const MASK: u32 = u32::from_le_bytes([0xff, 0xff, 0xff, 0]);
    const WANTED: u32 = u32::from_le_bytes([ENCLU[0], ENCLU[1], ENCLU[2], 0]);
    // SAFETY: as the caller warrants; copied, and used as the copy.
    u32::from_le_bytes(unsafe { code.read() }) & MASK == WANTED
}

/// An EENTER that was found good.
pub(super) struct Known {
    circumstances: Circumstances,
    rip: u64,
    /// The instruction, which lies in one page. Good for the generation of domain 0's nested tables in `circumstances`.
    instruction: *const Code,
    /// XCR0 outside, and inside.
    components: [u32; 2],
    precedent: Precedent<'static, Place>,
    prepared: PreparedEnclave,
}

/// What an entry began with, found before its leaf was executed.
#[derive(Clone, Copy)]
pub(super) struct Before {
    /// The instruction's address.
    pub(super) rip: u64,
    /// XCR0.
    pub(super) components: u32,
    /// What the EPCM has taken away by then.
    pub(super) restrictions: u64,
}

/// #UD of domain 0's vCPU: whether it was an entry or exit of this kind, and is done.
#[inline]
pub(crate) fn handle(core: &'static Core, vcpu: &mut Vcpu) -> bool {
    let done = here(core, |state| {
        if vcpu.is_inside() {
            leave(core, state, vcpu)
        } else {
            enter(core, state, vcpu)
        }
    });
    done.flatten().is_some()
}

#[inline]
fn enter(core: &'static Core, state: &mut State, vcpu: &mut Vcpu) -> Option<()> {
    let is_entry = vcpu.rax() as u32 == Enclu::Eenter as u32;
    (is_entry && vcpu.owner() == Owner::Domain0).then_some(())?;
    let space = state.last.take()?.take_again()?;
    if enter_space(core, state, &space, vcpu).is_some() {
        state.space = Some(space);
        return Some(());
    }
    state.last = Some(space.release());
    None
}

#[inline]
fn enter_space(
    core: &'static Core,
    state: &mut State,
    space: &Taken,
    vcpu: &mut Vcpu,
) -> Option<()> {
    let known = space.known()?;
    let (rip, rsp, rflags) = (vcpu.rip(), vcpu.rsp(), vcpu.rflags());
    let precedent = &known.precedent;
    let is_same = rip == known.rip
        && vcpu.register(Register::Rbx) == precedent.thread().tcs_address
        && rflags & SINGLE_STEP == 0
        && vcpu.guest_components == known.components[0]
        && vcpu.cpl() == PROGRAM
        && vcpu.is_64_bit()
        && known.circumstances.are_of(vcpu);
    (is_same && space.is_as_settled()).then_some(())?;
    // SAFETY: RAM that the program may read, mapped one to one: the walk there is among those that hold.
    unsafe { is_enclu(known.instruction) }.then_some(())?;
    let (exit_pointer, stack) = (
        vcpu.register(Register::Rcx),
        [rsp, vcpu.register(Register::Rbp)],
    );
    let regime = state.trails.regime()?;
    let mut caller = Caller {
        core,
        vcpu,
        regime,
        trails: None,
    };
    let epoch = precedent.enter(&mut caller, exit_pointer, stack)?;
    Vendor::current().keep_hidden_segments(vcpu);
    // FS and GS that this one left outside are kept with the vCPU, and come back from there.
    state.thread.insert(*precedent.thread()).epoch = epoch;
    Vendor::current().enter_enclave(vcpu, &known.prepared);
    Vendor::current().use_hidden_segments(vcpu);
    vcpu.set_rip(precedent.target);
    vcpu.set_rsp(rsp);
    vcpu.set_rflags(rflags);
    vcpu.set_rax(precedent.frame().into());
    vcpu.set_register(Register::Rcx, rip.wrapping_add(LENGTH));
    vcpu.guest_components = known.components[1];
    Some(())
}

#[inline]
fn leave(core: &'static Core, state: &mut State, vcpu: &mut Vcpu) -> Option<()> {
    let (thread, space) = (state.thread.as_ref()?, state.space.as_ref()?);
    let is_exit = vcpu.rax() as u32 == Enclu::Eexit as u32;
    (is_exit && vcpu.is_64_bit() && !thread.debug).then_some(())?;
    let rip = vcpu.rip();
    has_room(rip).then_some(())?;
    let instruction = space.exit_at(rip)? as *const Code;
    // SAFETY: a translation of the space leads to RAM, mapped one to one, to the end of the page.
    unsafe { is_enclu(instruction) }.then_some(())?;
    let target = vcpu.register(Register::Rbx);
    let regime = state.trails.regime()?;
    let mut caller = Caller {
        core,
        vcpu,
        regime,
        trails: None,
    };
    let exit_pointer = exit_to(&mut caller, thread, target)?;
    let (rsp, rax) = (vcpu.rsp(), vcpu.rax());
    let step = if thread.single_step { SINGLE_STEP } else { 0 };
    let rflags = vcpu.rflags() & !SINGLE_STEP | step;
    Vendor::current().leave_enclave(vcpu, false);
    Vendor::current().use_hidden_segments(vcpu);
    vcpu.set_rip(target);
    vcpu.set_rsp(rsp);
    vcpu.set_rflags(rflags);
    vcpu.set_rax(rax);
    vcpu.set_register(Register::Rcx, exit_pointer);
    if components() != 0 {
        vcpu.guest_components = thread.xcr0 as u32;
    }
    state.thread = None;
    state.last = state.space.take().map(Taken::release);
    Some(())
}

/// Notes what the EENTER was that has just succeeded, while the processor is still outside, with all that the space and the walks of it depend on.
pub(super) fn note(
    caller: &Caller,
    space: &Taken,
    before: &Before,
    (thread, inside): (&Thread, &Processor),
    prepared: PreparedEnclave,
) {
    let Some(trails) = caller.trails else {
        return;
    };
    let memory = CallerMemory::new(caller.vcpu);
    // With the first frame, which is how threads enter but to handle exceptions.
    let precedent = Precedent::of(caller, thread, inside, before.restrictions)
        .filter(|precedent| precedent.frame() == 0);
    let noted = precedent.and_then(|precedent| {
        let walks = walks(trails, memory, before.rip, &precedent)?;
        let (place, _) = walks.first()?;
        let known = Known {
            circumstances: trails.circumstances(),
            rip: before.rip,
            instruction: memory.readable(*place)?.value() as *const _,
            components: [before.components, inside.xcr0 as u32],
            precedent,
            prepared,
        };
        Some((known, walks))
    });
    if let Some((known, walks)) = noted {
        let walks: ArrayVec<Walk, WALKS> = walks.into_iter().map(|(_, walk)| walk).collect();
        space.settle(known, &walks, before.restrictions);
    }
}

/// The walks to the instruction, the TCS and the frame, and where they lead; `None` if they lead elsewhere than at the entry just made.
fn walks(
    trails: &Trails,
    memory: CallerMemory,
    rip: u64,
    precedent: &Precedent<'static, Place>,
) -> Option<ArrayVec<(GuestPhysical, Walk), WALKS>> {
    has_room(rip).then_some(())?;
    let mut walks = ArrayVec::new();
    walks.push(trails.walk_noted(memory, rip, Kind::Execute)?);
    let thread = precedent.thread();
    let pages = precedent.frame_pages();
    for (address, page) in pages.chain([(thread.tcs_address, thread.tcs)]) {
        let (place, walk) = trails.walk_noted(memory, address, Kind::Write)?;
        (epc::page_at(place.value()) == Some(page)).then_some(())?;
        walks.try_push((place, walk)).ok()?;
    }
    Some(walks)
}
