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

use super::enter::{ACTIVE, INACTIVE, OUTER_STACK, TCS_AEP, TCS_STATE};
use crate::context::PAGE;
use crate::epcm::{EpcPage, EpcmEntry};
use crate::machine::Machine;
use crate::platform::{Platform, attribute};
use crate::processor::{Processor, Register};
use crate::structures::{SecsHead, tcs_flags};
use crate::thread::Thread;

/// Offset in a TCS of FLAGS; OSSA, and CSSA with NSSA follow.
const TCS_FLAGS: usize = 8;

/// An entry that was found good: by EENTER, in 64-bit mode, of a thread that is not debugged and not stepped.
#[derive(Clone, Copy)]
pub struct Precedent<'e> {
    platform: &'e Platform<'e>,
    tcs: &'e EpcmEntry,
    secs: &'e EpcmEntry,
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

impl<'e> Precedent<'e> {
    /// Of a thread that has just entered by EENTER and begins with the registers of `inside`. `restrictions`: what [`Machine::restrictions`] said
    /// before.
    pub fn of(
        machine: &impl Machine<'e>,
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
        let [found, offset, frames] = words(machine, thread.tcs, TCS_FLAGS);
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
    pub fn enter(
        &self,
        machine: &mut impl Machine<'e>,
        exit_pointer: u64,
        stack: [u64; 2],
    ) -> Option<u64> {
        let capabilities = &self.platform.capabilities;
        capabilities.is_canonical(exit_pointer).then_some(())?;
        // From here on the TCS stays what it is, and so it has a SECS.
        let _share = self.tcs.share()?;
        (machine.restrictions() == self.restrictions).then_some(())?;
        // Counted, then looked at, as EENTER does.
        let epoch = self.secs.tracking().enter()?;
        if self.begin(machine).is_none() {
            self.secs.tracking().leave(epoch);
            return None;
        }
        let (tcs, gpr) = (self.thread.tcs, self.thread.gpr);
        machine.store(tcs, TCS_AEP, &exit_pointer.to_le_bytes());
        let stack = stack.map(u64::to_le_bytes);
        machine.store(gpr, OUTER_STACK, stack.as_flattened());
        Some(epoch)
    }

    /// Takes the TCS if all is as it was.
    #[inline(always)]
    fn begin(&self, machine: &mut impl Machine<'e>) -> Option<()> {
        let tcs = self.thread.tcs;
        (machine.restrictions() == self.restrictions).then_some(())?;
        machine
            .compare_exchange(tcs, TCS_STATE, INACTIVE, ACTIVE)
            .ok()?;
        let [flags, _, frames] = words(machine, tcs, TCS_FLAGS);
        if flags == self.flags && frames == self.frames {
            return Some(());
        }
        machine.swap(tcs, TCS_STATE, INACTIVE);
        None
    }
}

#[inline(always)]
fn words<'e, const COUNT: usize>(
    machine: &impl Machine<'e>,
    page: EpcPage,
    offset: usize,
) -> [u64; COUNT] {
    let mut bytes = [[0; 8]; COUNT];
    machine.load(page, offset, bytes.as_flattened_mut());
    bytes.map(u64::from_le_bytes)
}
