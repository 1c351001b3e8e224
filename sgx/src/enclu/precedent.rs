//! `EENTER` again, as it was found good before: what one entry has found out the next ones do not find out again.
//!
//! An entry depends on the program's registers and mode, on where the operating system's tables lead, on what the EPCM says of the TCS and the
//! pages of the frame, and on what the SECS and the TCS contain. Registers, mode and tables are the machine's to compare, since it alone knows
//! how. The rest is compared here:
//!
//! - The EPCM takes nothing away without [`Machine::forget`], which [`Machine::restrictions`] counts.
//! - A SECS stays as it is from EINIT on, for as long as it has a child; the TCS is one.
//! - Of a TCS only STATE, CSSA and AEP change, and FLAGS by EDBGWR.
//!
//! What must hold: whatever an entry by a precedent does, EENTER would have done; where they might differ there is no entry.

use super::enter::{ACTIVE, INACTIVE, OUTER_STACK, TCS_AEP, TCS_CSSA, TCS_STATE};
use crate::context::PAGE;
use crate::epcm::{EpcPage, EpcmEntry};
use crate::machine::Machine;
use crate::platform::{Platform, attribute};
use crate::processor::{Processor, Register};
use crate::structures::{SecsHead, tcs_flags};
use crate::thread::Thread;

/// Offsets in a TCS of FLAGS and OSSA.
const TCS_FLAGS: usize = 8;
const TCS_OSSA: usize = 16;

/// An entry that was found good: by EENTER, in 64-bit mode, of a thread that is not debugged and not stepped.
#[derive(Clone, Copy)]
pub struct Precedent<'e, P> {
    platform: &'e Platform<'e>,
    tcs: &'e EpcmEntry,
    secs: &'e EpcmEntry,
    tcs_place: P,
    /// The page that ends with GPRSGX.
    gpr_place: P,
    restrictions: u64,
    flags: u64,
    /// CSSA and NSSA.
    frames: u64,
    /// Where the frame begins, and how many pages it has.
    frame: (u64, u32),
    thread: Thread,
    /// Where the thread begins.
    pub target: u64,
}

impl<'e, P: Copy> Precedent<'e, P> {
    /// Of a thread that has just entered by EENTER and begins with the registers of `inside`. `restrictions`: what [`Machine::restrictions`] said
    /// before.
    pub fn of(
        machine: &impl Machine<'e, Place = P>,
        thread: &Thread,
        inside: &Processor,
        restrictions: u64,
    ) -> Option<Self> {
        let platform = machine.platform();
        let mut secs = SecsHead::zeroed();
        machine.load(thread.secs, 0, &mut secs.0);
        // What EENTER demands of a thread that is not debugged.
        let flags = if secs.has(attribute::AEXNOTIFY) {
            tcs_flags::AEXNOTIFY
        } else {
            0
        };
        let (tcs, gpr) = (machine.place(thread.tcs)?, machine.place(thread.gpr)?);
        let [found, offset, frames] =
            [TCS_FLAGS, TCS_OSSA, TCS_CSSA].map(|offset| machine.word(tcs, offset));
        let pages = secs.ssaframesize();
        let before = (u64::from(pages) * PAGE).wrapping_mul(u64::from(frames as u32));
        let frame = thread.base.wrapping_add(offset).wrapping_add(before);
        let is_plain = machine.mode().long && !thread.debug && !thread.single_step;
        let is_same = found == flags && u64::from(frames as u32) == inside.get(Register::Rax);
        (is_plain && is_same).then_some(())?;
        Some(Self {
            platform,
            tcs: platform.entry(thread.tcs)?,
            secs: platform.entry(thread.secs)?,
            tcs_place: tcs,
            gpr_place: gpr,
            restrictions,
            flags,
            frames,
            frame: (frame, pages),
            thread: *thread,
            target: inside.rip,
        })
    }

    /// The thread as it was then.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Linear addresses that lead to the pages of the frame that an exit writes, and these pages.
    pub fn frame_pages(&self) -> impl Iterator<Item = (u64, EpcPage)> {
        let (start, pages) = self.frame;
        let at = move |number: u64| start.wrapping_add(number * PAGE);
        let last = at(u64::from(pages).wrapping_sub(1));
        let state = self.thread.xsave.iter().take(self.thread.xsave_count);
        let state = state
            .zip(0..)
            .map(move |(page, number)| (at(number), *page));
        state.chain([(last, self.thread.gpr)])
    }

    /// What RAX says inside.
    #[must_use]
    pub fn frame(&self) -> u32 {
        self.frames as u32
    }

    /// Enters, with this exit pointer (RCX) and with RSP and RBP; the epoch of the thread. `None`: something is not as it was then,
    /// and nothing has changed.
    #[inline(always)]
    #[must_use]
    pub fn enter<M: Machine<'e, Place = P>>(
        &self,
        machine: &mut M,
        exit_pointer: u64,
        [rsp, rbp]: [u64; 2],
    ) -> Option<u64> {
        let capabilities = &self.platform.capabilities;
        capabilities.is_canonical(exit_pointer).then_some(())?;
        // From here on the TCS stays what it is, and so it has a SECS.
        let _share = self.tcs.share()?;
        (machine.restrictions() == self.restrictions).then_some(())?;
        // Counted, then looked at, as EENTER does.
        let epoch = self.secs.tracking().enter()?;
        if !self.begin(machine) {
            self.secs.tracking().leave(epoch);
            return None;
        }
        machine.set_word(self.tcs_place, TCS_AEP, exit_pointer);
        machine.set_word(self.gpr_place, OUTER_STACK, rsp);
        machine.set_word(self.gpr_place, OUTER_STACK + 8, rbp);
        Some(epoch)
    }

    /// Takes the TCS if all is as it was; whether it was.
    #[inline(always)]
    fn begin<M: Machine<'e, Place = P>>(&self, machine: &mut M) -> bool {
        let tcs = self.tcs_place;
        // The frames also before it is taken: who is refused for these does not keep another core from resuming the thread.
        if machine.restrictions() != self.restrictions
            || machine.word(tcs, TCS_CSSA) != self.frames
            || !machine.exchange_word(tcs, TCS_STATE, INACTIVE, ACTIVE)
        {
            return false;
        }
        let is_same = machine.word(tcs, TCS_FLAGS) == self.flags
            && machine.word(tcs, TCS_CSSA) == self.frames;
        if !is_same {
            machine.set_word(tcs, TCS_STATE, INACTIVE);
        }
        is_same
    }
}
