//! Pages for enclaves and versions: EADD, EEXTEND, EAUG, EPA.

use super::{Context, PAGE, Page, claimed, require};
use crate::epcm::{Attributes, EpcPage, PageType, Part};
use crate::fault::Access;
use crate::machine::Machine;
use crate::measurement::{self, Measurement, RECORD};
use crate::outcome::Stop;
use crate::platform::attribute;
use crate::processor::Register;
use crate::structures::{Pageinfo, Secs, TCS_ENCODED, Tcs, secinfo_flags, tcs_flags};

/// Bytes that one EEXTEND measures.
const CHUNK: usize = 256;
/// Low bits of the limits of a 32-bit enclave's segments.
const LIMIT_BITS: u32 = 0xFFF;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn eadd(&mut self) -> Result<(), Stop> {
        let (info, target) = self.target()?;
        let source = self.address(info.srcpge(), PAGE)?;
        let secs_address = self.address(info.secs(), PAGE)?;
        let secinfo = self.address(info.secinfo(), 64)?;
        require(info.linaddr().is_multiple_of(PAGE))?;
        let secs_page = self.epc(secs_address, Access::Write)?;
        let mut secinfo = self.secinfo(secinfo)?;
        let kind = secinfo.page_type();
        require(secinfo.is_well_formed())?;
        let kind = kind.filter(|kind| matches!(kind, PageType::Reg | PageType::Tcs));
        let kind = kind.ok_or(Stop::GENERAL_PROTECTION)?;
        let _claim = self.claim_free(target)?;
        let _share = claimed(secs_page.entry.share())?;
        self.require_secs(secs_page)?;
        target.entry.touch();
        self.machine.copy_in(source, target.number)?;
        let mut secs = self.secs(secs_page.number);
        match kind {
            PageType::Tcs => require(self.is_sound_tcs(target.number, &secs))?,
            _ => require(secinfo.has(secinfo_flags::R) || !secinfo.has(secinfo_flags::W))?,
        }
        require(is_inside(&secs, info.linaddr()))?;
        let _measuring = claimed(secs_page.entry.part(Part::Measurement))?;
        // Read anew: another EADD may have ended between the copy and the claim.
        self.machine.load(secs_page.number, 0, &mut secs.0);
        require(!secs.has(attribute::INIT))?;
        if kind == PageType::Tcs {
            secinfo.set_flags(
                secinfo.flags() & !(secinfo_flags::R | secinfo_flags::W | secinfo_flags::X),
            );
            self.reset_tcs(target.number);
        }
        let record = measurement::add_record(info.linaddr() - secs.baseaddr(), secinfo.flags());
        self.measure(secs_page, &mut secs, &[record]);
        let mut attributes = Attributes::of(kind, secs_page.number);
        attributes.read = secinfo.has(secinfo_flags::R);
        attributes.write = secinfo.has(secinfo_flags::W);
        attributes.execute = secinfo.has(secinfo_flags::X);
        secs_page.entry.count_child();
        target.entry.occupy(attributes, info.linaddr());
        Ok(())
    }

    pub(super) fn eextend(&mut self) -> Result<(), Stop> {
        let secs_address = self.operand(Register::Rbx, PAGE)?;
        let secs_page = self.epc(secs_address, Access::Write)?;
        let chunk = self.operand(Register::Rcx, CHUNK as u64)?;
        let page = self.epc(chunk, Access::Read)?;
        let _share = claimed(page.entry.share())?;
        let attributes = page.entry.attributes();
        if !(attributes.is(PageType::Reg) || attributes.is(PageType::Tcs)) {
            return Err(self.page_fault(chunk, Access::Read));
        }
        require(attributes.secs == secs_page.number)?;
        let _measuring = claimed(secs_page.entry.part(Part::Measurement))?;
        let mut secs = self.secs(secs_page.number);
        require(!secs.has(attribute::INIT))?;
        let place = (chunk % PAGE) as usize;
        let start = page.entry.address().wrapping_sub(secs.baseaddr());
        let offset = start.wrapping_add(place as u64);
        let mut blocks = [[0; RECORD]; 1 + CHUNK / RECORD];
        blocks[0] = measurement::extend_record(offset);
        self.machine
            .load(page.number, place, blocks[1..].as_flattened_mut());
        self.measure(secs_page, &mut secs, &blocks);
        Ok(())
    }

    pub(super) fn eaug(&mut self) -> Result<(), Stop> {
        let (info, target) = self.target()?;
        let secinfo = self.address(info.secinfo(), 64)?;
        let secs_address = self.address(info.secs(), PAGE)?;
        require(info.linaddr().is_multiple_of(PAGE) && info.srcpge() == 0)?;
        let secs_page = self.epc(secs_address, Access::Write)?;
        let _claim = self.claim_free(target)?;
        // A SECINFO may ask for shadow-stack pages only, which need CET.
        if secinfo != 0 {
            self.secinfo(secinfo)?;
            return Err(Stop::GENERAL_PROTECTION);
        }
        let _share = claimed(secs_page.entry.share())?;
        self.require_secs(secs_page)?;
        let secs = self.secs(secs_page.number);
        require(secs.has(attribute::INIT) && is_inside(&secs, info.linaddr()))?;
        self.machine.zero(target.number);
        let mut attributes = Attributes::of(PageType::Reg, secs_page.number);
        attributes.read = true;
        attributes.write = true;
        attributes.pending = true;
        secs_page.entry.count_child();
        target.entry.occupy(attributes, info.linaddr());
        Ok(())
    }

    pub(super) fn epa(&mut self) -> Result<(), Stop> {
        require(self.processor.get(Register::Rbx) == PageType::Va as u64)?;
        let target = self.page_at_rcx()?;
        let _claim = self.claim_free(target)?;
        self.machine.zero(target.number);
        target
            .entry
            .occupy(Attributes::of(PageType::Va, EpcPage(0)), 0);
        Ok(())
    }

    /// PAGEINFO at RBX and the EPC page at RCX.
    pub(super) fn target(&mut self) -> Result<(Pageinfo, Page<'e>), Stop> {
        let info = self.operand(Register::Rbx, 32)?;
        let target = self.page_at_rcx()?;
        Ok((self.page_info(info)?, target))
    }

    /// Claims a page that must be free: #GP while it is in use by others, #PF if it is valid.
    pub(super) fn claim_free(&self, target: Page<'e>) -> Result<crate::epcm::Claim<'e>, Stop> {
        let claim = claimed(target.entry.claim())?;
        if target.entry.attributes().valid {
            return Err(self.page_fault(target.address, Access::Write));
        }
        Ok(claim)
    }

    /// Adds blocks to MRENCLAVE, whose part of the SECS is claimed.
    fn measure(&mut self, page: Page<'e>, secs: &mut Secs, blocks: &[[u8; RECORD]]) {
        let mut measurement = Measurement::load(secs);
        measurement.update(blocks);
        measurement.store(secs);
        self.store(page, 0, &secs.0);
    }

    /// What EADD demands of a TCS: nothing in reserved bytes, and page-granular limits in a 32-bit enclave.
    fn is_sound_tcs(&self, page: EpcPage, secs: &Secs) -> bool {
        self.is_zero_from(page, TCS_ENCODED)
            && has_fitting_limits(&self.tcs(page), secs.attributes())
    }

    fn reset_tcs(&mut self, page: EpcPage) {
        let mut tcs = self.tcs(page);
        tcs.set_flags(tcs.flags() & !tcs_flags::DBGOPTIN);
        tcs.set_cssa(0);
        tcs.set_aep(0);
        tcs.set_state(0);
        self.machine.store(page, 0, &tcs.0);
    }
}

/// Whether the limits of FS and GS are page-granular; only those of 32-bit enclaves matter.
pub(crate) fn has_fitting_limits(tcs: &Tcs, attributes: u64) -> bool {
    let limits = tcs.fslimit() & tcs.gslimit();
    attributes & attribute::MODE64BIT != 0 || limits & LIMIT_BITS == LIMIT_BITS
}

/// Whether a page lies in the enclave's range.
fn is_inside(secs: &Secs, address: u64) -> bool {
    address.wrapping_sub(secs.baseaddr()) < secs.size()
}
