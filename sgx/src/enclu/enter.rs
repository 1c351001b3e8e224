//! Into an enclave: EENTER, ERESUME.

use super::frame::{Frame, GPR_OFFSET};
use super::{Context, PAGE, Page, claimed, require};
use crate::epcm::PageType;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::platform::attribute;
use crate::processor::{Flags, Register, Segment};
use crate::structures::{GPRSGX_AEXNOTIFY, Gprsgx, Secs, Tcs, tcs_flags};
use crate::thread::Thread;

/// Offsets in a TCS of what entering writes.
const TCS_STATE: usize = 0;
pub(super) const TCS_CSSA: usize = 24;
pub(super) const TCS_AEP: usize = 40;
/// Values of TCS.STATE.
pub(super) const INACTIVE: u64 = 0;
const ACTIVE: u64 = 1;
/// Offset of URSP and URBP in GPRSGX.
pub(super) const OUTER_STACK: usize = GPR_OFFSET + 144;
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
    /// The interrupted registers, of [`Way::Resume`].
    saved: Gprsgx,
}

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn eenter(&mut self) -> Result<Thread, Stop> {
        self.enter(Way::Enter)
    }

    pub(super) fn eresume(&mut self) -> Result<Thread, Stop> {
        self.enter(Way::Resume)
    }

    fn enter(&mut self, way: Way) -> Result<Thread, Stop> {
        require(self.mode.long || self.mode.flat)?;
        let address = self.operand(Register::Rbx, PAGE)?;
        let page = self.epc(address, Access::Write)?;
        let exit_pointer = self.processor.get(Register::Rcx);
        require(self.is_canonical(exit_pointer))?;
        let _share = claimed(page.entry.share())?;
        let attributes = page.entry.attributes();
        let usable = attributes.is(PageType::Tcs)
            && page.entry.address() == address
            && !(attributes.blocked || attributes.pending || attributes.modified);
        if !usable {
            return Err(self.page_fault(address, Access::Write));
        }
        let parent = self.parent(page)?;
        // Counted before the frame is looked at: what is found good after this stays so until the thread has left.
        let epoch = parent.entry.tracking().enter();
        let epoch = epoch.ok_or(Stop::GENERAL_PROTECTION)?;
        let entered = self.enter_counted(way, page, parent, epoch);
        if entered.is_err() {
            parent.entry.tracking().leave(epoch);
        }
        entered
    }

    fn enter_counted(
        &mut self,
        way: Way,
        page: Page<'e>,
        parent: Page<'e>,
        epoch: u64,
    ) -> Result<Thread, Stop> {
        let secs = self.secs_head(parent.number);
        let tcs = self.tcs(page.number);
        self.check_entry(&secs, &tcs)?;
        let entry = self.find_entry(way, page, parent, &secs, &tcs)?;
        self.machine
            .compare_exchange(page.number, TCS_STATE, INACTIVE, ACTIVE)
            .map_err(|_| Stop::GENERAL_PROTECTION)?;
        if entry.way == Way::Resume && !self.is_restorable(&entry.frame, secs.xfrm()) {
            self.machine.swap(page.number, TCS_STATE, INACTIVE);
            return Err(Stop::GENERAL_PROTECTION);
        }
        let thread = self.thread(page, parent, &secs, &tcs, &entry, epoch);
        self.load_thread(page, &tcs, &secs, &entry);
        Ok(thread)
    }

    /// What concerns the enclave and the mode of the processor.
    fn check_entry(&self, secs: &Secs, tcs: &Tcs) -> Result<(), Stop> {
        let known = tcs_flags::DBGOPTIN | tcs_flags::AEXNOTIFY;
        let pages = [tcs.ossa(), tcs.ofsbase(), tcs.ogsbase()];
        require(pages.iter().all(|offset| offset.is_multiple_of(PAGE)))?;
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

    fn find_entry(
        &mut self,
        way: Way,
        page: Page<'e>,
        parent: Page<'e>,
        secs: &Secs,
        tcs: &Tcs,
    ) -> Result<Entry, Stop> {
        let mut entry = Entry {
            way,
            frame: Frame::of(page.number),
            target: tcs.oentry().wrapping_add(secs.baseaddr()),
            fs_base: tcs.ofsbase().wrapping_add(secs.baseaddr()),
            gs_base: tcs.ogsbase().wrapping_add(secs.baseaddr()),
            saved: Gprsgx::zeroed(),
        };
        if way == Way::Enter {
            require(tcs.cssa() < tcs.nssa())?;
            entry.frame = self.frame(parent.number, secs, tcs, tcs.cssa())?;
        } else {
            self.find_resumption(&mut entry, parent, secs, tcs)?;
        }
        self.check_target(&entry, tcs)?;
        Ok(entry)
    }

    fn find_resumption(
        &mut self,
        entry: &mut Entry,
        parent: Page<'e>,
        secs: &Secs,
        tcs: &Tcs,
    ) -> Result<(), Stop> {
        require(tcs.cssa() != 0)?;
        entry.frame = self.frame(parent.number, secs, tcs, tcs.cssa() - 1)?;
        let mut notify = [0];
        self.machine
            .load(entry.frame.gpr, GPR_OFFSET + GPRSGX_AEXNOTIFY, &mut notify);
        if tcs.flags() & tcs_flags::AEXNOTIFY != 0 && notify[0] & 1 != 0 {
            require(tcs.cssa() < tcs.nssa())?;
            entry.way = Way::Notify;
            entry.frame = self.frame(parent.number, secs, tcs, tcs.cssa())?;
        } else {
            self.machine
                .load(entry.frame.gpr, GPR_OFFSET, &mut entry.saved.0);
            entry.target = entry.saved.rip();
            if self.mode.long {
                entry.fs_base = entry.saved.fsbase();
                entry.gs_base = entry.saved.gsbase();
            }
        }
        Ok(())
    }

    /// Where execution goes on, and FS and GS: canonical, or within the segments of 32-bit mode.
    fn check_target(&self, entry: &Entry, tcs: &Tcs) -> Result<(), Stop> {
        if self.mode.long {
            let places = [entry.target, entry.fs_base, entry.gs_base];
            return require(places.iter().all(|place| self.is_canonical(*place)));
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
        let mut mxcsr = [0; 4];
        self.machine.load(frame.xsave[0], MXCSR, &mut mxcsr);
        let mut header = [0; 24];
        self.machine.load(frame.xsave[0], XSAVE_HEADER, &mut header);
        let (present, rest) = header.split_at(8);
        let present = u64::from_le_bytes(present.try_into().unwrap_or_default());
        let reserved = u32::from_le_bytes(mxcsr) & !self.platform.capabilities.mxcsr_mask;
        present & !xfrm == 0 && reserved == 0 && rest.iter().all(|byte| *byte == 0)
    }

    fn thread(
        &self,
        page: Page<'e>,
        parent: Page<'e>,
        secs: &Secs,
        tcs: &Tcs,
        entry: &Entry,
        epoch: u64,
    ) -> Thread {
        Thread {
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
        }
    }

    fn load_thread(&mut self, page: Page<'e>, tcs: &Tcs, secs: &Secs, entry: &Entry) {
        let exit_pointer = self.processor.get(Register::Rcx);
        self.store(page, TCS_AEP, &exit_pointer.to_le_bytes());
        if entry.way == Way::Resume {
            let pages = entry.frame.xsave.get(..entry.frame.count);
            self.machine
                .load_extended(secs.xfrm(), pages.unwrap_or_default());
            self.restore_registers(&entry.saved);
            let cssa = tcs.cssa().wrapping_sub(1);
            self.store(page, TCS_CSSA, &cssa.to_le_bytes());
        } else {
            let mut outer = [0; 16];
            outer[..8].copy_from_slice(&self.processor.get(Register::Rsp).to_le_bytes());
            outer[8..].copy_from_slice(&self.processor.get(Register::Rbp).to_le_bytes());
            self.machine.store(entry.frame.gpr, OUTER_STACK, &outer);
            self.processor.set(Register::Rcx, self.processor.next);
            self.processor.set(Register::Rax, tcs.cssa().into());
        }
        self.processor.rip = entry.target;
        if self.mode.osxsave {
            self.processor.xcr0 = secs.xfrm();
        }
        let segment = |base, limit| Segment {
            base,
            limit,
            selector: SELECTOR,
            rights: RIGHTS,
        };
        self.processor.fs = segment(entry.fs_base, tcs.fslimit());
        self.processor.gs = segment(entry.gs_base, tcs.gslimit());
        if tcs.flags() & tcs_flags::DBGOPTIN == 0 {
            self.processor.flags.remove(Flags::TF);
        }
    }

    fn restore_registers(&mut self, saved: &Gprsgx) {
        let count = if self.mode.long { 16 } else { 8 };
        let places = self.processor.general.iter_mut().take(count);
        for (place, bytes) in places.zip(saved.general().chunks_exact(8)) {
            let value = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            *place = if self.mode.long {
                value
            } else {
                value & 0xFFFF_FFFF
            };
        }
        let flags = &mut self.processor.flags;
        let mut restored =
            Flags::STATUS | Flags::DF | Flags::NT | Flags::AC | Flags::ID | Flags::RF;
        if flags.contains(Flags::IOPL) {
            restored |= Flags::IF;
        }
        let kept = flags.difference(restored | Flags::VM);
        *flags = kept | (Flags::from_bits_retain(saved.rflags()) & restored);
    }
}

impl Frame {
    fn of(page: crate::EpcPage) -> Self {
        Self {
            xsave: [page; crate::thread::XSAVE_PAGES],
            count: 0,
            gpr: page,
        }
    }
}
