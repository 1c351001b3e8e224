//! What every leaf does with its operands: from registers to EPC pages, with the faults that belong to each step.

use crate::epcm::{Claim, EpcPage, EpcmEntry, PageType};
use crate::fault::{Access, Fault};
use crate::machine::{Machine, Mode};
use crate::outcome::{Outcome, Stop};
use crate::platform::Platform;
use crate::processor::{Flags, Processor, Register};
use crate::structures::{Secs, SecsHead, Tcs};

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// One execution of a leaf.
pub(crate) struct Context<'a, 'e, M> {
    pub machine: &'a mut M,
    pub processor: &'a mut Processor,
    pub platform: &'e Platform<'e>,
    pub mode: Mode,
}

/// An EPC page as an operand named it.
#[derive(Clone, Copy)]
pub(crate) struct Page<'e> {
    pub number: EpcPage,
    pub entry: &'e EpcmEntry,
    /// Linear address of the operand.
    pub address: u64,
}

/// #GP(0) unless a condition holds.
#[inline]
pub(crate) fn require(condition: bool) -> Result<(), Stop> {
    if condition {
        Ok(())
    } else {
        Err(Stop::GENERAL_PROTECTION)
    }
}

/// A claim, or #GP(0) for the conflict.
#[inline]
pub(crate) fn claimed<'e>(claim: Option<Claim<'e>>) -> Result<Claim<'e>, Stop> {
    claim.ok_or(Stop::GENERAL_PROTECTION)
}

impl<'a, 'e, M: Machine<'e>> Context<'a, 'e, M> {
    #[inline]
    pub fn new(machine: &'a mut M, processor: &'a mut Processor) -> Self {
        let (platform, mode) = (machine.platform(), machine.mode());
        Self {
            machine,
            processor,
            platform,
            mode,
        }
    }

    /// The address in a register, aligned and canonical.
    #[inline]
    pub fn operand(&self, register: Register, alignment: u64) -> Result<u64, Stop> {
        self.address(self.processor.get(register), alignment)
    }

    /// An address that software wrote somewhere, aligned and canonical.
    #[inline]
    pub fn address(&self, value: u64, alignment: u64) -> Result<u64, Stop> {
        let address = if self.mode.long {
            value
        } else {
            value & 0xFFFF_FFFF
        };
        require(address.is_multiple_of(alignment) && self.is_canonical(address))?;
        Ok(address)
    }

    /// Whether an address is canonical; outside 64-bit mode all are.
    #[inline]
    pub fn is_canonical(&self, address: u64) -> bool {
        !self.mode.long || self.platform.capabilities.is_canonical(address)
    }

    /// The page fault that the EPCM, or the absence of EPC, causes.
    pub fn page_fault(&self, address: u64, access: Access) -> Stop {
        Stop::Fault(Fault::epcm(address, access, self.mode.privilege == 3))
    }

    /// The EPC page at an address, whatever it is.
    #[inline(always)]
    pub fn epc(&mut self, address: u64, access: Access) -> Result<Page<'e>, Stop> {
        let found = self.machine.epc_page(address, access)?;
        found
            .and_then(|number| self.page(number, address))
            .ok_or_else(|| self.page_fault(address, access))
    }

    #[inline]
    pub fn page(&self, number: EpcPage, address: u64) -> Option<Page<'e>> {
        let entry = self.platform.entry(number)?;
        Some(Page {
            number,
            entry,
            address,
        })
    }

    /// Where its bytes are.
    pub fn place(&self, page: Page<'e>) -> Result<M::Place, Stop> {
        let place = self.machine.place(page.number);
        place.ok_or_else(|| self.page_fault(page.address, Access::Write))
    }

    /// The SECS of a child.
    pub fn parent(&self, child: Page<'e>) -> Result<Page<'e>, Stop> {
        let number = child.entry.attributes().secs;
        self.page(number, child.address)
            .ok_or_else(|| self.page_fault(child.address, Access::Write))
    }

    /// #PF at a page unless it is a valid SECS.
    pub fn require_secs(&self, page: Page<'e>) -> Result<(), Stop> {
        if page.entry.attributes().is(PageType::Secs) {
            Ok(())
        } else {
            Err(self.page_fault(page.address, Access::Write))
        }
    }

    /// Contents of a SECS.
    pub fn secs(&self, page: EpcPage) -> Secs {
        let mut secs = Secs::zeroed();
        self.machine.load(page, 0, &mut secs.0);
        secs
    }

    /// The first 64 bytes of a SECS.
    #[inline]
    pub fn secs_head(&self, page: EpcPage) -> SecsHead {
        let mut head = SecsHead::zeroed();
        self.machine.load(page, 0, &mut head.0);
        head
    }

    /// Fields of a TCS.
    #[inline]
    pub fn tcs(&self, page: EpcPage) -> Tcs {
        let mut tcs = Tcs::zeroed();
        self.machine.load(page, 0, &mut tcs.0);
        tcs
    }

    /// Writes a page of the EPC, which breaks off what others have begun with it.
    pub fn store(&mut self, page: Page<'e>, offset: usize, bytes: &[u8]) {
        page.entry.touch();
        self.machine.store(page.number, offset, bytes);
    }

    /// Whether bytes of a page are all zero, from `start` to its end.
    pub fn is_zero_from(&self, page: EpcPage, start: usize) -> bool {
        const CHUNK: usize = 256;
        let mut chunk = [0; CHUNK];
        (start..PAGE as usize).step_by(CHUNK).all(|offset| {
            let length = CHUNK.min(PAGE as usize - offset);
            let Some(bytes) = chunk.get_mut(..length) else {
                return false;
            };
            self.machine.load(page, offset, bytes);
            bytes.iter().all(|byte| *byte == 0)
        })
    }
}

/// Puts the result of a leaf where software finds it. `silent` leaves say nothing of success.
pub(crate) fn finish(processor: &mut Processor, silent: bool, result: Result<(), Stop>) -> Outcome {
    let (code, flag) = match result {
        Ok(()) if silent => return Outcome::Complete,
        Ok(()) => (0, Flags::empty()),
        Err(Stop::Code(code)) => (code as u64, Flags::ZF),
        Err(Stop::Remark(code)) => (code as u64, Flags::CF),
        Err(Stop::Fault(fault)) => return Outcome::Fault(fault),
        Err(Stop::Again) => return Outcome::Again,
    };
    processor.set(Register::Rax, code);
    processor.flags = processor.flags.difference(Flags::STATUS).union(flag);
    Outcome::Complete
}
