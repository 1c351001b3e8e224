//! `ENCLS`: what the operating system does with enclaves.

mod add;
mod create;
mod debug;
mod evict;
mod information;
mod init;
mod modify;
mod reload;
mod remove;
mod track;

pub(crate) use add::has_fitting_limits;
pub(crate) use evict::Transfer;
pub(crate) use init::Initialization;

use crate::context::{Context, PAGE, Page, claimed, finish, require};
use crate::fault::{Access, Fault};
use crate::leaf::Encls;
use crate::machine::Machine;
use crate::outcome::{Outcome, Stop};
use crate::processor::{Processor, Register};
use crate::progress::Progress;
use reload::Reload;

/// Executes `ENCLS`: the leaf that EAX names, with RBX, RCX, RDX and the flags of `processor`.
///
/// The machine has seen to what comes before the leaf (SDM, ENCLS): #UD outside protected mode or at a privilege level other than 0, #GP if
/// IA32_FEATURE_CONTROL does not enable SGX.
pub fn encls<'e>(
    machine: &mut impl Machine<'e>,
    progress: &mut Progress,
    processor: &mut Processor,
) -> Outcome {
    let Some(leaf) = Encls::from_eax(processor.get(Register::Rax) as u32) else {
        return Outcome::Fault(Fault::general_protection());
    };
    let mut context = Context::new(machine, processor);
    let result = match leaf {
        Encls::Ecreate => context.ecreate(),
        Encls::Eadd => context.eadd(),
        Encls::Eremove => context.eremove(),
        Encls::Edbgrd => context.edbgrd(),
        Encls::Edbgwr => context.edbgwr(),
        Encls::Eextend => context.eextend(),
        Encls::Eblock => context.eblock(),
        Encls::Epa => context.epa(),
        Encls::Etrack => context.etrack(),
        Encls::Eaug => context.eaug(),
        Encls::Emodpr => context.emodpr(),
        Encls::Emodt => context.emodt(),
        Encls::Erdinfo => context.erdinfo(),
        Encls::Etrackc => context.etrackc(),
        Encls::Einit => context.einit(&mut progress.initialization),
        Encls::Ewb => context.ewb(&mut progress.transfer),
        Encls::Eldb => context.eld(Reload::BLOCKED, &mut progress.transfer),
        Encls::Eldu => context.eld(Reload::UNBLOCKED, &mut progress.transfer),
        Encls::Eldbc => context.eld(Reload::BLOCKED.with_code(), &mut progress.transfer),
        Encls::Elduc => context.eld(Reload::UNBLOCKED.with_code(), &mut progress.transfer),
    };
    finish(processor, is_silent(leaf), result)
}

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    /// The EPC page that RCX names, which the leaf writes.
    fn page_at_rcx(&mut self) -> Result<Page<'e>, Stop> {
        let address = self.operand(Register::Rcx, PAGE)?;
        self.epc(address, Access::Write)
    }

    /// #GP unless the enclave of a page has an attribute.
    fn require_attribute(&self, page: Page<'e>, attribute: u64) -> Result<(), Stop> {
        let secs = self.secs(self.parent(page)?.number);
        require(secs.has(attribute))
    }
}

/// Whether success leaves RAX and the flags alone.
fn is_silent(leaf: Encls) -> bool {
    use Encls::{Eadd, Eaug, Ecreate, Eextend, Epa};
    matches!(leaf, Ecreate | Eadd | Eextend | Epa | Eaug)
}
