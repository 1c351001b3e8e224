//! What an enclave agrees to: EACCEPT, EACCEPTCOPY, EMODPE.

use super::{Context, PAGE, Page, claimed, require};
use crate::encls::has_fitting_limits;
use crate::epcm::{Attributes, PageType, Part};
use crate::error::ErrorCode;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::processor::Register;
use crate::structures::{Secinfo, TCS_ENCODED, secinfo_flags, tcs_flags};
use crate::thread::Thread;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn eaccept(&mut self, thread: &Thread) -> Result<(), Stop> {
        let secinfo = self.enclave_operand(Register::Rbx, 64, thread)?;
        let secinfo = self.enclave_secinfo(thread, secinfo)?;
        require(secinfo.is_well_formed())?;
        let address = self.enclave_operand(Register::Rcx, PAGE, thread)?;
        let page = self.epc(address, Access::Read)?;
        require(is_acceptable(&secinfo))?;
        if page.entry.attributes().blocked || !self.is_child_of(page, thread.secs) {
            return Err(self.page_fault(address, Access::Read));
        }
        let _share = claimed(page.entry.share())?;
        let _part = claimed(page.entry.part(Part::Modification))?;
        if !self.is_child_of(page, thread.secs) {
            return Err(self.page_fault(address, Access::Read));
        }
        let attributes = page.entry.attributes();
        if page.entry.address() != address || !is_as_described(&attributes, &secinfo) {
            return Err(ErrorCode::PageAttributesMismatch.into());
        }
        let changed = attributes.modified || attributes.restricted;
        let tracking = self.parent(page)?.entry.tracking();
        if changed && !tracking.is_over(page.entry.epoch()) {
            return Err(ErrorCode::NotTracked.into());
        }
        if attributes.kind == PageType::Tcs {
            require(self.is_sound_new_tcs(page, thread))?;
        }
        page.entry.change(|attributes| {
            attributes.pending = false;
            attributes.modified = false;
            attributes.restricted = false;
        });
        Ok(())
    }

    pub(super) fn eacceptcopy(&mut self, thread: &Thread) -> Result<(), Stop> {
        let secinfo = self.operand(Register::Rbx, 64)?;
        let target = self.operand(Register::Rcx, PAGE)?;
        let source = self.operand(Register::Rdx, PAGE)?;
        require(
            [secinfo, target, source]
                .iter()
                .all(|address| thread.contains(*address)),
        )?;
        let secinfo_page = self.epc(secinfo, Access::Read)?;
        let target = self.epc(target, Access::Write)?;
        self.epc(source, Access::Read)?;
        let secinfo = self.enclave_secinfo(thread, secinfo_page.address)?;
        let (r, w) = (secinfo.has(secinfo_flags::R), secinfo.has(secinfo_flags::W));
        let regular = secinfo.page_type() == Some(PageType::Reg);
        require(secinfo.is_well_formed() && (r || !w) && regular)?;
        let source = self.accessible(thread.secs, source, Access::Read)?;
        if !self.is_copy_target(target, thread) {
            return Err(ErrorCode::PageAttributesMismatch.into());
        }
        let _share = claimed(target.entry.share())?;
        let _part = claimed(target.entry.part(Part::Modification))?;
        let attributes = target.entry.attributes();
        let fresh = attributes.read && attributes.write && !attributes.execute;
        if !fresh
            || target.entry.address() != target.address
            || !self.is_copy_target(target, thread)
        {
            return Err(ErrorCode::PageAttributesMismatch.into());
        }
        target.entry.touch();
        self.machine.copy(source.number, target.number);
        target.entry.change(|attributes| {
            attributes.read = r;
            attributes.write = w;
            attributes.execute = secinfo.has(secinfo_flags::X);
            attributes.pending = false;
        });
        Ok(())
    }

    pub(super) fn emodpe(&mut self, thread: &Thread) -> Result<(), Stop> {
        let secinfo = self.operand(Register::Rbx, 64)?;
        let address = self.operand(Register::Rcx, PAGE)?;
        require(thread.contains(secinfo) && thread.contains(address))?;
        self.epc(secinfo, Access::Read)?;
        let page = self.epc(address, Access::Read)?;
        let secinfo = self.enclave_secinfo(thread, secinfo)?;
        require(secinfo.is_well_formed())?;
        let is_changeable = |attributes: Attributes| {
            attributes.is(PageType::Reg)
                && attributes.secs == thread.secs
                && !(attributes.pending || attributes.modified || attributes.blocked)
        };
        if !is_changeable(page.entry.attributes()) {
            return Err(self.page_fault(address, Access::Read));
        }
        let _share = claimed(page.entry.share())?;
        let _part = claimed(page.entry.part(Part::Modification))?;
        let attributes = page.entry.attributes();
        if !is_changeable(attributes) || page.entry.address() != address {
            return Err(self.page_fault(address, Access::Read));
        }
        let (r, w) = (secinfo.has(secinfo_flags::R), secinfo.has(secinfo_flags::W));
        require(attributes.read || r || !w)?;
        page.entry.change(|attributes| {
            attributes.read |= r;
            attributes.write |= w;
            attributes.execute |= secinfo.has(secinfo_flags::X);
        });
        Ok(())
    }

    /// SECINFO in a page of the enclave.
    fn enclave_secinfo(&mut self, thread: &Thread, address: u64) -> Result<Secinfo, Stop> {
        let page = self.accessible(thread.secs, address, Access::Read)?;
        let mut secinfo = Secinfo::zeroed();
        self.read_enclave(page, &mut secinfo.0);
        Ok(secinfo)
    }

    fn is_copy_target(&self, page: Page<'e>, thread: &Thread) -> bool {
        let attributes = page.entry.attributes();
        self.is_regular_of(page, thread.secs)
            && attributes.pending
            && !attributes.modified
            && !attributes.blocked
    }

    /// A page that becomes a TCS: nothing in it that only the processor may write.
    fn is_sound_new_tcs(&self, page: Page<'e>, thread: &Thread) -> bool {
        let tcs = self.tcs(page.number);
        tcs.flags() & tcs_flags::DBGOPTIN == 0
            && tcs.cssa() < tcs.nssa()
            && tcs.aep() == 0
            && tcs.state() == 0
            && self.is_zero_from(page.number, TCS_ENCODED)
            && has_fitting_limits(&tcs, self.secs_head(thread.secs).attributes())
    }
}

/// Whether there is such a change: an added or restricted page, or one with a new type.
fn is_acceptable(secinfo: &Secinfo) -> bool {
    use secinfo_flags::{MODIFIED, PENDING, PR};
    let [pending, modified, restricted] = [PENDING, MODIFIED, PR].map(|bit| secinfo.has(bit));
    match secinfo.page_type() {
        Some(PageType::Reg) => (restricted || pending) && !modified,
        Some(PageType::Tcs | PageType::Trim) => !restricted && !pending && modified,
        _ => false,
    }
}

fn is_as_described(attributes: &Attributes, secinfo: &Secinfo) -> bool {
    // PR is not compared (SDM, EACCEPT).
    let described = attributes.secinfo_flags() ^ secinfo.flags();
    described & !secinfo_flags::PR == 0
}
