//! `ENCLU`: what applications and enclaves do, and leaving an enclave unasked.

mod accept;
mod enter;
mod exit;
mod frame;
mod key;
mod precedent;
mod report;

pub use exit::{Event, asynchronous_exit, exit_to};
pub use precedent::Precedent;

use crate::context::{Context, PAGE, Page, claimed, finish, require};
use crate::epcm::{EpcPage, PageType};
use crate::fault::{Access, Fault};
use crate::leaf::Enclu;
use crate::machine::Machine;
use crate::outcome::{Outcome, Stop};
use crate::processor::{Processor, Register};
use crate::thread::Thread;

/// Executes `ENCLU`: the leaf that EAX names. `thread` is `None` outside enclave mode; `EENTER` and `ERESUME` set it, `EEXIT` clears it.
///
/// The machine has seen to what comes before the leaf (SDM, ENCLU): #UD at a privilege level other than 3, #NM for CR0.TS, #GP if CR0.NE is 0.
pub fn enclu<'e>(
    machine: &mut impl Machine<'e>,
    thread: &mut Option<Thread>,
    processor: &mut Processor,
) -> Outcome {
    let Some(leaf) = Enclu::from_eax(processor.get(Register::Rax) as u32) else {
        return Outcome::Fault(Fault::general_protection());
    };
    let mut context = Context::new(machine, processor);
    let result = match (leaf, &mut *thread) {
        (Enclu::Eenter, slot @ None) => context.enter::<false>(slot),
        (Enclu::Eresume, slot @ None) => context.enter::<true>(slot),
        (Enclu::Ereport, Some(thread)) => context.ereport(thread),
        (Enclu::Egetkey, Some(thread)) => context.egetkey(thread),
        (Enclu::Eexit, Some(thread)) => context.eexit(thread),
        (Enclu::Eaccept, Some(thread)) => context.eaccept(thread),
        (Enclu::Emodpe, Some(thread)) => context.emodpe(thread),
        (Enclu::Eacceptcopy, Some(thread)) => context.eacceptcopy(thread),
        (Enclu::Edeccssa, Some(thread)) => context.edeccssa(thread),
        _ => Err(Stop::GENERAL_PROTECTION),
    };
    if result.is_ok() && leaf == Enclu::Eexit {
        *thread = None;
        return Outcome::Left;
    }
    if result.is_ok() && !leaf.inside() {
        return Outcome::Entered;
    }
    finish(processor, is_silent(leaf), result)
}

/// Whether success leaves RAX and the flags alone.
fn is_silent(leaf: Enclu) -> bool {
    use Enclu::{Edeccssa, Emodpe, Ereport};
    matches!(leaf, Ereport | Emodpe | Edeccssa)
}

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    /// The address in a register, aligned and in the enclave's range.
    fn enclave_operand(
        &self,
        register: Register,
        alignment: u64,
        thread: &Thread,
    ) -> Result<u64, Stop> {
        let address = self.operand(register, alignment)?;
        require(thread.contains(address))?;
        Ok(address)
    }

    /// The page of an enclave at one of its addresses, which the enclave may access so: #PF by the tables or the EPCM otherwise.
    #[inline(always)]
    fn accessible(
        &mut self,
        secs: EpcPage,
        address: u64,
        access: Access,
    ) -> Result<Page<'e>, Stop> {
        let page = self.epc(address, access)?;
        if page.entry.allows(secs, address & !(PAGE - 1), access) {
            Ok(page)
        } else {
            Err(self.page_fault(address, access))
        }
    }

    /// Reads from one page of the enclave.
    fn read_enclave(&self, page: Page<'e>, bytes: &mut [u8]) {
        self.machine
            .load(page.number, (page.address % PAGE) as usize, bytes);
    }

    /// Writes to one page of the enclave.
    fn write_enclave(&mut self, page: Page<'e>, bytes: &[u8]) {
        self.store(page, (page.address % PAGE) as usize, bytes);
    }

    /// Whether a page belongs to an enclave and is of one of the types that an enclave can accept.
    fn is_child_of(&self, page: Page<'e>, secs: EpcPage) -> bool {
        let attributes = page.entry.attributes();
        attributes.valid && attributes.kind.is_child() && attributes.secs == secs
    }

    fn is_regular_of(&self, page: Page<'e>, secs: EpcPage) -> bool {
        self.is_child_of(page, secs) && page.entry.attributes().kind == PageType::Reg
    }
}
