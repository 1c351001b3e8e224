//! EREPORT (SDM, EREPORT).

use super::{Context, require};
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::processor::Register;
use crate::report;
use crate::structures::{Report, Secs, Targetinfo};
use crate::thread::Thread;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn ereport(&mut self, thread: &Thread) -> Result<(), Stop> {
        let target = self.enclave_operand(Register::Rbx, 512, thread)?;
        let target_page = self.accessible(thread.secs, target, Access::Read)?;
        let mut target = Targetinfo::zeroed();
        self.read_enclave(target_page, &mut target.0);
        require(target.is_reserved_zero())?;
        let data = self.enclave_operand(Register::Rcx, 128, thread)?;
        let data_page = self.accessible(thread.secs, data, Access::Read)?;
        let mut data = [0; 64];
        self.read_enclave(data_page, &mut data);
        let output = self.enclave_operand(Register::Rdx, 512, thread)?;
        let output = self.accessible(thread.secs, output, Access::Write)?;
        let mut report = self.describe(&self.secs(thread.secs));
        report.set_reportdata(&data);
        let mac = report::mac(&self.platform.secrets(), &target, &report);
        report.set_mac(&mac);
        self.write_enclave(output, &report.0);
        Ok(())
    }

    fn describe(&self, secs: &Secs) -> Report {
        let secrets = &self.platform.secrets();
        let mut report = Report::zeroed();
        report.set_cpusvn(&secrets.cpusvn);
        report.set_miscselect(secs.miscselect());
        report.set_isvextprodid(secs.isvextprodid());
        report.set_attributes(secs.attribute_bytes());
        report.set_mrenclave(secs.mrenclave());
        report.set_mrsigner(secs.mrsigner());
        report.set_configid(secs.configid());
        report.set_isvprodid(secs.isvprodid());
        report.set_isvsvn(secs.isvsvn());
        report.set_configsvn(secs.configsvn());
        report.set_isvfamilyid(secs.isvfamilyid());
        report.set_keyid(&secrets.report_key_id);
        report
    }
}
