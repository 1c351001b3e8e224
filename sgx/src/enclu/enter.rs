//! Into an enclave: EENTER, ERESUME.

use super::frame::{Frame, GPR_OFFSET};
use super::{Context, PAGE, Page, claimed, require};
use crate::epcm::EpcPage;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::platform::attribute;
use crate::processor::{Flags, Register, Segment};
use crate::structures::{GPRSGX_AEXNOTIFY, SecsHead, Tcs, tcs_flags};
use crate::thread::Thread;

/// Offsets in a TCS of what entering writes.
pub(super) const TCS_STATE: usize = 0;
pub(super) const TCS_CSSA: usize = 24;
pub(super) const TCS_AEP: usize = 40;
/// Values of TCS.STATE.
pub(super) const INACTIVE: u64 = 0;
pub(super) const ACTIVE: u64 = 1;
/// Offset of URSP and URBP in GPRSGX.
pub(super) const OUTER_STACK: usize = GPR_OFFSET + 144;
/// Offsets of RIP, and of FSBASE and GSBASE, in the last page of a frame.
const RIP: usize = GPR_OFFSET + 136;
pub(super) const BASES: usize = GPR_OFFSET + 168;
/// Selector of FS and GS inside.
const SELECTOR: u16 = 0x0B;
/// Rights of FS and GS inside: accessed data, writable, privilege level 3, present, 32-bit, page-granular.
const RIGHTS: u16 = 0xC0F3;
/// MXCSR and the header in an XSAVE area (SDM volume 1, section 13.4).
const MXCSR: usize = 24;
const XSAVE_HEADER: usize = 512;

/// How a thread goes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// EENTER: at the entry, with the next free frame.
    Enter,
    /// ERESUME: where it was interrupted, freeing the frame.
    Resume,
    /// ERESUME of a thread that wants to be told: at the entry, keeping the frame.
    Notify,
}

/// All that has been found before anything changes.
struct Entry {
    way: Way,
    frame: Frame,
    target: u64,
    fs_base: u64,
    gs_base: u64,
}

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    /// EENTER and ERESUME; sets the thread. One function for each, since nothing else is executed as often.
    #[inline(always)]
    pub(super) fn enter<const RESUME: bool>(
        &mut self,
        thread: &mut Option<Thread>,
    ) -> Result<(), Stop> {
        require(self.mode.long || self.mode.flat)?;
        let address = self.operand(Register::Rbx, PAGE)?;
        let page = self.epc(address, Access::Write)?;
        require(self.is_canonical(self.processor.get(Register::Rcx)))?;
        let _share = claimed(page.entry.share())?;
        let parent = page.entry.entered(address);
        let parent = parent.and_then(|secs| self.page(secs, address));
        let parent = parent.ok_or_else(|| self.page_fault(address, Access::Write))?;
        // Counted, then looked at: who blocks a page after this notes an epoch that lasts until the thread has left. The TCS is looked at
        // twice, because it says in which enclave to count.
        let epoch = parent.entry.tracking().enter();
        let epoch = epoch.ok_or(Stop::GENERAL_PROTECTION)?;
        let entered = self.enter_counted::<RESUME>(page, parent, epoch, thread);
        if entered.is_err() {
            parent.entry.tracking().leave(epoch);
        }
        entered
    }

    #[inline(always)]
    fn enter_counted<const RESUME: bool>(
        &mut self,
        page: Page<'e>,
        parent: Page<'e>,
        epoch: u64,
        thread: &mut Option<Thread>,
    ) -> Result<(), Stop> {
        if page.entry.entered(page.address) != Some(parent.number) {
            return Err(self.page_fault(page.address, Access::Write));
        }
        let secs = self.secs_head(parent.number);
        let tcs = self.tcs(page.number);
        self.check_entry(&secs, &tcs)?;
        let mut entry = if RESUME {
            self.find_resumption(parent, &secs, &tcs)?
        } else {
            self.find_entry(parent, &secs, &tcs)?
        };
        self.check_target(&entry, &tcs)?;
        let place = self.place(page)?;
        require(
            self.machine
                .exchange_word(place, TCS_STATE, INACTIVE, ACTIVE),
        )?;
        if let Err(stop) = self.check_alone::<RESUME>(page, parent, &secs, &tcs, &mut entry) {
            self.machine.set_word(place, TCS_STATE, INACTIVE);
            return Err(stop);
        }
        let thread = thread.insert(Thread {
            secs: parent.number,
            tcs: page.number,
            tcs_address: page.address,
            base: secs.baseaddr(),
            size: secs.size(),
            xfrm: secs.xfrm(),
            debug: tcs.flags() & tcs_flags::DBGOPTIN != 0,
            exinfo: secs.miscselect() & 1 != 0,
            epoch,
            xsave: entry.frame.xsave,
            xsave_count: entry.frame.count,
            gpr: entry.frame.gpr,
            fs: self.processor.fs,
            gs: self.processor.gs,
            xcr0: self.processor.xcr0,
            single_step: self.processor.flags.contains(Flags::TF),
        });
        let exit_pointer = self.processor.get(Register::Rcx);
        self.machine
            .store(page.number, TCS_AEP, &exit_pointer.to_le_bytes());
        if RESUME && entry.way == Way::Resume {
            self.restore(page, &tcs, thread);
        } else {
            self.start(&tcs, thread);
        }
        self.load_segments(&entry, &tcs, thread);
        Ok(())
    }

    /// Looks again at what another thread may have changed before this one had the TCS: it was inside, and has left with another frame,
    /// or with other contents of the same.
    #[inline(always)]
    fn check_alone<const RESUME: bool>(
        &mut self,
        page: Page<'e>,
        parent: Page<'e>,
        secs: &SecsHead,
        tcs: &Tcs,
        entry: &mut Entry,
    ) -> Result<(), Stop> {
        let [frames] = self.words(page.number, TCS_CSSA);
        require(frames as u32 == tcs.cssa())?;
        if !RESUME {
            return Ok(());
        }
        *entry = self.find_resumption(parent, secs, tcs)?;
        self.check_target(entry, tcs)?;
        require(entry.way != Way::Resume || self.is_restorable(&entry.frame, secs.xfrm()))
    }

    /// What concerns the enclave and the mode of the processor.
    #[inline(always)]
    fn check_entry(&self, secs: &SecsHead, tcs: &Tcs) -> Result<(), Stop> {
        let known = tcs_flags::DBGOPTIN | tcs_flags::AEXNOTIFY;
        let offsets = tcs.ossa() | tcs.ofsbase() | tcs.ogsbase();
        require(offsets.is_multiple_of(PAGE))?;
        require(tcs.flags() & !known == 0 && secs.has(attribute::INIT))?;
        require(self.mode.long == secs.has(attribute::MODE64BIT) && self.mode.osfxsr)?;
        let enabled = if self.mode.osxsave {
            self.processor.xcr0 & secs.xfrm() == secs.xfrm()
        } else {
            secs.xfrm() == 3
        };
        let notified = tcs.flags() & tcs_flags::AEXNOTIFY != 0;
        let debugged = tcs.flags() & tcs_flags::DBGOPTIN != 0;
        require(enabled && (debugged || notified == secs.has(attribute::AEXNOTIFY)))
    }

    /// At the entry, with the next free frame.
    #[inline(always)]
    fn find_entry(&mut self, parent: Page<'e>, secs: &SecsHead, tcs: &Tcs) -> Result<Entry, Stop> {
        require(tcs.cssa() < tcs.nssa())?;
        Ok(Entry {
            way: Way::Enter,
            frame: self.frame(parent.number, secs, tcs, tcs.cssa())?,
            target: tcs.oentry().wrapping_add(secs.baseaddr()),
            fs_base: tcs.ofsbase().wrapping_add(secs.baseaddr()),
            gs_base: tcs.ogsbase().wrapping_add(secs.baseaddr()),
        })
    }

    /// Where the thread was interrupted, or at the entry if it wants to be told.
    fn find_resumption(
        &mut self,
        parent: Page<'e>,
        secs: &SecsHead,
        tcs: &Tcs,
    ) -> Result<Entry, Stop> {
        require(tcs.cssa() != 0)?;
        let frame = self.frame(parent.number, secs, tcs, tcs.cssa() - 1)?;
        let mut notify = [0];
        self.machine
            .load(frame.gpr, GPR_OFFSET + GPRSGX_AEXNOTIFY, &mut notify);
        if tcs.flags() & tcs_flags::AEXNOTIFY != 0 && notify[0] & 1 != 0 {
            let mut entry = self.find_entry(parent, secs, tcs)?;
            entry.way = Way::Notify;
            return Ok(entry);
        }
        let [fs_base, gs_base] = if self.mode.long {
            self.words(frame.gpr, BASES)
        } else {
            [tcs.ofsbase(), tcs.ogsbase()].map(|offset| offset.wrapping_add(secs.baseaddr()))
        };
        Ok(Entry {
            way: Way::Resume,
            target: self.words::<1>(frame.gpr, RIP)[0],
            frame,
            fs_base,
            gs_base,
        })
    }

    /// Where execution goes on, and FS and GS: canonical, or within the segments of 32-bit mode.
    #[inline(always)]
    fn check_target(&self, entry: &Entry, tcs: &Tcs) -> Result<(), Stop> {
        if self.mode.long {
            return require(
                self.is_canonical(entry.target)
                    && self.is_canonical(entry.fs_base)
                    && self.is_canonical(entry.gs_base),
            );
        }
        let data_limit = self.mode.data_limit;
        let fits = |base: u64, limit: u32| match (base as u32).checked_add(limit) {
            Some(end) => end <= data_limit,
            None => data_limit == u32::MAX,
        };
        require(
            entry.target <= u64::from(self.mode.code_limit)
                && fits(entry.fs_base, tcs.fslimit())
                && fits(entry.gs_base, tcs.gslimit()),
        )
    }

    /// Whether XRSTOR would accept the saved state.
    fn is_restorable(&self, frame: &Frame, xfrm: u64) -> bool {
        let [present, reserved, more] = self.words(frame.xsave[0], XSAVE_HEADER);
        let [control] = self.words(frame.xsave[0], MXCSR);
        let unknown = control as u32 & !self.platform.capabilities.mxcsr_mask;
        present & !xfrm == 0 && unknown == 0 && reserved | more == 0
    }

    /// EENTER's registers: what the entry is told, and what the way out needs.
    #[inline(always)]
    fn start(&mut self, tcs: &Tcs, thread: &Thread) {
        let outer = [Register::Rsp, Register::Rbp].map(|register| self.processor.get(register));
        self.machine.store(
            thread.gpr,
            OUTER_STACK,
            outer.map(u64::to_le_bytes).as_flattened(),
        );
        self.processor.set(Register::Rcx, self.processor.next);
        self.processor.set(Register::Rax, tcs.cssa().into());
    }

    /// ERESUME's: all as they were.
    fn restore(&mut self, page: Page<'e>, tcs: &Tcs, thread: &Thread) {
        let pages = thread.xsave.get(..thread.xsave_count);
        self.machine
            .load_extended(thread.xfrm, pages.unwrap_or_default());
        let saved: [u64; 17] = self.words(thread.gpr, GPR_OFFSET);
        if self.mode.long {
            self.processor.general.copy_from_slice(&saved[..16]);
        } else {
            for (place, value) in self.processor.general.iter_mut().take(8).zip(saved) {
                *place = value & 0xFFFF_FFFF;
            }
        }
        self.restore_flags(saved[16]);
        let cssa = tcs.cssa().wrapping_sub(1);
        self.machine
            .store(page.number, TCS_CSSA, &cssa.to_le_bytes());
    }

    fn restore_flags(&mut self, saved: u64) {
        let flags = &mut self.processor.flags;
        let mut restored =
            Flags::STATUS | Flags::DF | Flags::NT | Flags::AC | Flags::ID | Flags::RF;
        if flags.contains(Flags::IOPL) {
            restored |= Flags::IF;
        }
        let kept = flags.difference(restored | Flags::VM);
        *flags = kept | (Flags::from_bits_retain(saved) & restored);
    }

    #[inline(always)]
    fn load_segments(&mut self, entry: &Entry, tcs: &Tcs, thread: &Thread) {
        self.processor.rip = entry.target;
        if self.mode.osxsave {
            self.processor.xcr0 = thread.xfrm;
        }
        let segment = |base, limit| Segment {
            base,
            limit,
            selector: SELECTOR,
            rights: RIGHTS,
        };
        self.processor.fs = segment(entry.fs_base, tcs.fslimit());
        self.processor.gs = segment(entry.gs_base, tcs.gslimit());
        if !thread.debug {
            self.processor.flags.remove(Flags::TF);
        }
    }

    /// Words of an EPC page.
    #[inline]
    pub(super) fn words<const COUNT: usize>(&self, page: EpcPage, offset: usize) -> [u64; COUNT] {
        let mut bytes = [[0; 8]; COUNT];
        self.machine.load(page, offset, bytes.as_flattened_mut());
        bytes.map(u64::from_le_bytes)
    }
}
