//! No new translations, and none left: EBLOCK, ETRACK, ETRACKC.

use super::{Context, claimed};
use crate::epcm::{PageType, Part};
use crate::error::ErrorCode;
use crate::machine::Machine;
use crate::outcome::Stop;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn eblock(&mut self) -> Result<(), Stop> {
        let page = self.page_at_rcx()?;
        let _share = page.entry.share().ok_or(ErrorCode::EpcPageConflict)?;
        let attributes = page.entry.attributes();
        if !attributes.valid {
            return Err(ErrorCode::PgInvld.into());
        }
        if !attributes.kind.is_child() {
            let secs = attributes.kind == PageType::Secs;
            return Err(Stop::Remark(if secs {
                ErrorCode::PgIsSecs
            } else {
                ErrorCode::Notblockable
            }));
        }
        if page.entry.block() {
            return Err(Stop::Remark(ErrorCode::Blkstate));
        }
        self.machine.forget(page.number);
        self.note_epoch(page)
    }

    /// Notes when a page lost rights: whoever entered by then may still use them. Called after [`Machine::forget`].
    pub(super) fn note_epoch(&self, page: super::Page<'e>) -> Result<(), Stop> {
        let parent = self.parent(page)?;
        page.entry.set_epoch(parent.entry.tracking().epoch());
        Ok(())
    }

    pub(super) fn etrack(&mut self) -> Result<(), Stop> {
        let page = self.page_at_rcx()?;
        let _tracking = claimed(page.entry.part(Part::Tracking))?;
        self.require_secs(page)?;
        if page.entry.tracking().advance() {
            Ok(())
        } else {
            Err(ErrorCode::PrevTrkIncmpl.into())
        }
    }

    pub(super) fn etrackc(&mut self) -> Result<(), Stop> {
        let page = self.page_at_rcx()?;
        let _share = page.entry.share().ok_or(ErrorCode::EpcPageConflict)?;
        let attributes = page.entry.attributes();
        if !attributes.valid {
            return Err(ErrorCode::PgInvld.into());
        }
        let secs = match attributes.kind {
            PageType::Secs => page,
            PageType::Va => return Err(Stop::Remark(ErrorCode::TrackNotRequired)),
            _ => self.parent(page)?,
        };
        let tracking = secs.entry.part(Part::Tracking);
        let _tracking = tracking.ok_or(ErrorCode::EpcPageConflict)?;
        if secs.entry.tracking().is_incomplete() {
            return Err(ErrorCode::PrevTrkIncmpl.into());
        }
        Ok(())
    }
}
