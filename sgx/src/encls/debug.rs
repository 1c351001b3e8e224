//! A debugger's access: EDBGRD, EDBGWR.

use super::{Context, Page, claimed, require};
use crate::epcm::PageType;
use crate::error::ErrorCode;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::platform::attribute;
use crate::processor::Register;
use crate::structures::TCS_ENCODED;

/// Offset of TCS.FLAGS, the only field that EDBGWR may write.
const TCS_FLAGS: u64 = 8;
/// Bits of a version slot that say nothing of whether it is in use.
const SLOT_SPARE: u64 = 7;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn edbgrd(&mut self) -> Result<(), Stop> {
        let page = self.debugged(Access::Read)?;
        let _share = claimed(page.entry.share())?;
        let offset = page.address as usize % 4096;
        let kind = self.debuggable(
            page,
            &[PageType::Reg, PageType::Tcs, PageType::Va],
            Access::Read,
        )?;
        require(kind != PageType::Tcs || offset < TCS_ENCODED)?;
        if kind != PageType::Va {
            self.require_attribute(page, attribute::DEBUG)?;
        }
        let mut bytes = [0; 8];
        let width = self.width();
        self.machine.load(
            page.number,
            offset,
            bytes.get_mut(..width).unwrap_or_default(),
        );
        let value = u64::from_le_bytes(bytes);
        let ones = if self.mode.long {
            u64::MAX
        } else {
            0xFFFF_FFFF
        };
        let shown = match kind {
            PageType::Va if value & !SLOT_SPARE != 0 => ones,
            PageType::Va => 0,
            _ => value,
        };
        self.processor.set(Register::Rbx, shown);
        Ok(())
    }

    pub(super) fn edbgwr(&mut self) -> Result<(), Stop> {
        let page = self.debugged(Access::Write)?;
        let _share = claimed(page.entry.share())?;
        let kind = self.debuggable(page, &[PageType::Reg, PageType::Tcs], Access::Write)?;
        require(kind != PageType::Tcs || page.address & 0xFF8 == TCS_FLAGS)?;
        self.require_attribute(page, attribute::DEBUG)?;
        let value = self.processor.get(Register::Rbx).to_le_bytes();
        let bytes = value.get(..self.width()).unwrap_or_default();
        self.store(page, page.address as usize % 4096, bytes);
        Ok(())
    }

    /// Bytes that are read or written at once.
    fn width(&self) -> usize {
        if self.mode.long { 8 } else { 4 }
    }

    fn debugged(&mut self, access: Access) -> Result<Page<'e>, Stop> {
        let address = self.operand(Register::Rcx, self.width() as u64)?;
        self.epc(address, access)
    }

    /// The type of a page that is in a state to be looked at.
    fn debuggable(
        &self,
        page: Page<'e>,
        kinds: &[PageType],
        access: Access,
    ) -> Result<PageType, Stop> {
        let attributes = page.entry.attributes();
        if !attributes.valid || !kinds.contains(&attributes.kind) {
            return Err(self.page_fault(page.address, access));
        }
        if attributes.pending || attributes.modified {
            return Err(ErrorCode::PageNotDebuggable.into());
        }
        Ok(attributes.kind)
    }
}
