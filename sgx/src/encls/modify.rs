//! Changing pages of an initialized enclave, which must accept it: EMODPR, EMODT.

use super::{Context, Page, claimed, require};
use crate::epcm::{PageType, Part};
use crate::error::ErrorCode;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::platform::attribute;
use crate::processor::Register;
use crate::structures::{Secinfo, secinfo_flags};

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn emodpr(&mut self) -> Result<(), Stop> {
        let (secinfo, page) = self.change_operands()?;
        let (r, w) = (secinfo.has(secinfo_flags::R), secinfo.has(secinfo_flags::W));
        require(secinfo.is_well_formed() && (r || !w))?;
        let _share = claimed(page.entry.share())?;
        if !page.entry.attributes().valid {
            return Err(self.page_fault(page.address, Access::Write));
        }
        let part = page.entry.part(Part::Modification);
        let _part = part.ok_or(ErrorCode::EpcPageConflict)?;
        let attributes = page.entry.attributes();
        if attributes.pending || attributes.modified {
            return Err(ErrorCode::PageNotModifiable.into());
        }
        if attributes.kind != PageType::Reg {
            return Err(self.page_fault(page.address, Access::Write));
        }
        self.require_attribute(page, attribute::INIT)?;
        page.entry.change(|attributes| {
            attributes.restricted = true;
            attributes.read &= r;
            attributes.write &= w;
            attributes.execute &= secinfo.has(secinfo_flags::X);
        });
        self.machine.forget(page.number);
        self.note_epoch(page)
    }

    pub(super) fn emodt(&mut self) -> Result<(), Stop> {
        let (secinfo, page) = self.change_operands()?;
        require(secinfo.is_well_formed())?;
        let kind = secinfo.page_type();
        let kind = kind.filter(|kind| matches!(kind, PageType::Tcs | PageType::Trim));
        let kind = kind.ok_or(Stop::GENERAL_PROTECTION)?;
        let _claim = page.entry.claim().ok_or(ErrorCode::EpcPageConflict)?;
        let attributes = page.entry.attributes();
        let allowed =
            attributes.is(PageType::Reg) || attributes.is(PageType::Tcs) && kind == PageType::Trim;
        if !allowed {
            return Err(self.page_fault(page.address, Access::Write));
        }
        if attributes.pending || attributes.modified {
            return Err(ErrorCode::PageNotModifiable.into());
        }
        self.require_attribute(page, attribute::INIT)?;
        page.entry.change(|attributes| {
            attributes.restricted = false;
            attributes.modified = true;
            attributes.read = false;
            attributes.write = false;
            attributes.execute = false;
            attributes.kind = kind;
        });
        self.machine.forget(page.number);
        self.note_epoch(page)
    }

    fn change_operands(&mut self) -> Result<(Secinfo, Page<'e>), Stop> {
        let secinfo = self.operand(Register::Rbx, 64)?;
        let page = self.page_at_rcx()?;
        Ok((self.secinfo(secinfo)?, page))
    }
}
