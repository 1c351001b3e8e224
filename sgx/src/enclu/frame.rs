//! A frame of the state save area: where it is, and the pages that hold it.

use super::{Context, PAGE, require};
use crate::epcm::EpcPage;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::structures::{Gprsgx, Secs, Tcs};
use crate::thread::XSAVE_PAGES;

/// The pages of a frame that an exit writes: found before anything depends on them, since an exit cannot fault.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub xsave: [EpcPage; XSAVE_PAGES],
    pub count: usize,
    pub gpr: EpcPage,
}

/// Where GPRSGX is in the last page of a frame.
pub(super) const GPR_OFFSET: usize = PAGE as usize - Gprsgx::SIZE;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    /// Finds the pages of a frame, which the enclave must be able to read and write.
    pub(super) fn frame(
        &mut self,
        number: EpcPage,
        secs: &Secs,
        tcs: &Tcs,
        index: u32,
    ) -> Result<Frame, Stop> {
        let pages = u64::from(secs.ssaframesize());
        let size = self.platform.capabilities.xsave_size(secs.xfrm());
        let count = u64::from(size).div_ceil(PAGE);
        let offset = (pages * PAGE).wrapping_mul(index.into());
        let start = tcs
            .ossa()
            .wrapping_add(secs.baseaddr())
            .wrapping_add(offset);
        let mut frame = Frame {
            xsave: [number; XSAVE_PAGES],
            count: count as usize,
            gpr: number,
        };
        let places = frame.xsave.get_mut(..frame.count);
        require(places.is_some())?;
        for (place, page) in places.unwrap_or_default().iter_mut().zip(0..) {
            *place = self.frame_page(number, start.wrapping_add(page * PAGE))?;
        }
        frame.gpr = match frame.xsave.first() {
            Some(only) if pages == 1 => *only,
            _ => self.frame_page(number, start.wrapping_add(pages.wrapping_sub(1) * PAGE))?,
        };
        Ok(frame)
    }

    fn frame_page(&mut self, secs: EpcPage, address: u64) -> Result<EpcPage, Stop> {
        let address = self.address(address, 1)?;
        let page = self.accessible(secs, address, Access::Write)?;
        if page.entry.attributes().read {
            Ok(page.number)
        } else {
            Err(self.page_fault(address, Access::Read))
        }
    }
}
