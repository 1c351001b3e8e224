//! ERDINFO (SDM, ERDINFO).

use super::{Context, PAGE};
use crate::epcm::PageType;
use crate::error::ErrorCode;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::processor::Register;
use crate::structures::Rdinfo;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn erdinfo(&mut self) -> Result<(), Stop> {
        let place = self.operand(Register::Rbx, 32)?;
        let address = self.operand(Register::Rcx, PAGE)?;
        let found = self.machine.epc_page(address, Access::Read)?;
        let entry = found.and_then(|number| Some((number, self.platform.entry(number)?)));
        let (number, entry) = entry.ok_or(Stop::Remark(ErrorCode::PgNonepc))?;
        let _share = entry.share().ok_or(ErrorCode::EpcPageConflict)?;
        let attributes = entry.attributes();
        if !attributes.valid {
            return Err(Stop::Remark(ErrorCode::PgInvld));
        }
        let mut info = Rdinfo::zeroed();
        let blocked = if attributes.blocked {
            Rdinfo::BLOCKED
        } else {
            0
        };
        info.set_flags(attributes.secinfo_flags() | blocked);
        match attributes.kind {
            PageType::Secs => {
                info.set_enclavecontext(self.machine.physical(number));
                let present = entry.children() != 0;
                info.set_status(if present { Rdinfo::CHILD_PRESENT } else { 0 });
            }
            PageType::Va => {}
            _ => info.set_enclavecontext(self.machine.physical(attributes.secs)),
        }
        self.machine.write(place, &info.0)?;
        Ok(())
    }
}
