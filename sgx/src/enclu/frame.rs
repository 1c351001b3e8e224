//! A frame of the state save area: where it is, and the pages that hold it.

use super::{Context, PAGE};
use crate::epcm::EpcPage;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::structures::{Gprsgx, SecsHead, Tcs};
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
    #[inline(always)]
    pub(super) fn frame(
        &mut self,
        number: EpcPage,
        secs: &SecsHead,
        tcs: &Tcs,
        index: u32,
    ) -> Result<Frame, Stop> {
        let pages = u64::from(secs.ssaframesize());
        let offset = (pages * PAGE).wrapping_mul(index.into());
        let start = tcs
            .ossa()
            .wrapping_add(secs.baseaddr())
            .wrapping_add(offset);
        let first = self.frame_page(number, start)?;
        let mut frame = Frame {
            xsave: [first; XSAVE_PAGES],
            count: secs.xsavepages() as usize,
            gpr: first,
        };
        if pages == 1 {
            return Ok(frame);
        }
        let places = frame.xsave.get_mut(1..frame.count);
        for (place, page) in places.unwrap_or_default().iter_mut().zip(1..) {
            *place = self.frame_page(number, start.wrapping_add(page * PAGE))?;
        }
        let last = start.wrapping_add(pages.wrapping_sub(1).wrapping_mul(PAGE));
        frame.gpr = self.frame_page(number, last)?;
        Ok(frame)
    }

    #[inline(always)]
    fn frame_page(&mut self, secs: EpcPage, address: u64) -> Result<EpcPage, Stop> {
        let address = self.address(address, 1)?;
        // What an enclave can write it can read: no instruction gives one right without the other.
        Ok(self.accessible(secs, address, Access::Write)?.number)
    }
}
