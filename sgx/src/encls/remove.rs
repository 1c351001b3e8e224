//! EREMOVE (SDM, EREMOVE).

use super::{Context, Page, claimed};
use crate::epcm::PageType;
use crate::error::ErrorCode;
use crate::machine::Machine;
use crate::outcome::Stop;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn eremove(&mut self) -> Result<(), Stop> {
        let target = self.page_at_rcx()?;
        let _claim = claimed(target.entry.claim())?;
        let attributes = target.entry.attributes();
        match attributes.kind {
            _ if !attributes.valid => {}
            PageType::Secs => {
                if target.entry.children() != 0 {
                    return Err(ErrorCode::ChildPresent.into());
                }
                target.entry.vacate();
            }
            PageType::Va => target.entry.vacate(),
            PageType::Trim if !attributes.modified => self.remove_child(target)?,
            _ => self.remove_idle(target)?,
        }
        Ok(())
    }

    /// A page that threads might use: only while none is inside.
    fn remove_idle(&mut self, target: Page<'e>) -> Result<(), Stop> {
        let parent = self.parent(target)?;
        if parent.entry.tracking().threads() != 0 {
            return Err(ErrorCode::EnclaveAct.into());
        }
        // Blocked first, so that a thread that enters now cannot reach it.
        let blocked = target.entry.block();
        self.machine.forget(target.number);
        if parent.entry.tracking().threads() != 0 {
            target
                .entry
                .change(|attributes| attributes.blocked = blocked);
            return Err(ErrorCode::EnclaveAct.into());
        }
        self.remove_child(target)
    }

    fn remove_child(&mut self, target: Page<'e>) -> Result<(), Stop> {
        let parent = self.parent(target)?;
        target.entry.vacate();
        parent.entry.discount_child();
        Ok(())
    }
}
