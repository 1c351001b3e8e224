//! EWB (SDM, EWB): a page goes out, encrypted, in slices; its version stays in a version array.

use super::{Context, PAGE, Page, claimed, require};
use crate::epcm::{Attributes, EpcPage, PageType};
use crate::error::ErrorCode;
use crate::fault::Access;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::page_cipher::{CHUNK, HEADER, Header, PageCipher};
use crate::processor::Register;
use crate::structures::{Pageinfo, Pcmd, Secinfo};

/// Bytes that one slice encrypts or decrypts.
pub(super) const SLICE: usize = 2048;
/// Bytes of a page.
const BYTES: usize = PAGE as usize;

/// A page on its way out or in: what it depends on, and how far it is.
pub(crate) struct Transfer {
    pub(super) key: TransferKey,
    pub(super) header: Header,
    pub(super) cipher: PageCipher,
    /// The version that it gets, or has.
    pub(super) version: u64,
    /// Bytes done.
    pub(super) done: usize,
}

impl Transfer {
    /// Does a slice of the transfer that is there; what has been worked out, if that was the last. A transfer that fails is given up.
    pub(super) fn going(
        transfer: &mut Option<Self>,
        slice: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<&mut Self, Stop> {
        let result = transfer.as_mut().map_or(Ok(()), slice);
        if result.is_err() {
            *transfer = None;
        }
        result?;
        transfer
            .as_mut()
            .filter(|work| work.done >= BYTES)
            .ok_or(Stop::Again)
    }
}

/// What must be the same when a transfer is carried on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TransferKey {
    pub out: bool,
    pub operands: [u64; 3],
    /// PAGEINFO.
    pub info: [u8; 32],
    pub page: EpcPage,
    /// Of the page: nobody has changed it.
    pub stamp: u64,
    pub slot: EpcPage,
}

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn ewb(&mut self, transfer: &mut Option<Transfer>) -> Result<(), Stop> {
        let (operands, page, slot, mut info) = self.transfer_operands()?;
        require(page.number != slot.number)?;
        require(info.linaddr() == 0 && info.secs() == 0)?;
        let pcmd = self.address(info.secinfo(), 128)?;
        let out = self.address(info.srcpge(), PAGE)?;
        let _claim = claimed(page.entry.claim())?;
        let _share = claimed(slot.entry.share())?;
        let attributes = page.entry.attributes();
        if !attributes.valid {
            return Err(self.page_fault(page.address, Access::Write));
        }
        self.require_versions(slot)?;
        let eid = self.evictable(page, attributes)?;
        self.machine.probe(out, BYTES)?;
        self.machine.probe(pcmd, Pcmd::SIZE)?;
        self.machine.probe(operands[0], Pageinfo::SIZE)?;
        let key = TransferKey {
            out: true,
            operands,
            info: info.0,
            page: page.number,
            stamp: page.entry.stamp(),
            slot: slot.number,
        };
        if transfer.as_ref().is_none_or(|work| work.key != key) {
            *transfer = Some(self.begin_eviction(key, page, attributes, eid));
        }
        let work = Transfer::going(transfer, |work| self.encrypt_slice(work, page, out))?;
        let tag = work.cipher.tag(PAGE);
        let version = work.version;
        *transfer = None;
        let mut described = Pcmd::zeroed();
        let mut secinfo = Secinfo::zeroed();
        secinfo.set_flags(attributes.secinfo_flags());
        described.set_secinfo(&secinfo.0);
        described.set_enclaveid(eid);
        described.set_mac(&tag);
        self.machine.write(pcmd, &described.0)?;
        info.set_linaddr(page.entry.address());
        self.machine.write(operands[0], &info.0[..8])?;
        self.finish_eviction(page, attributes, slot, version)
    }

    /// RBX, RCX, RDX; the page, the version slot, and PAGEINFO.
    pub(super) fn transfer_operands(
        &mut self,
    ) -> Result<([u64; 3], Page<'e>, Page<'e>, Pageinfo), Stop> {
        let info = self.operand(Register::Rbx, 32)?;
        let page = self.page_at_rcx()?;
        let slot = self.operand(Register::Rdx, 8)?;
        let slot = self.epc(slot, Access::Write)?;
        let operands = [info, page.address, slot.address];
        Ok((operands, page, slot, self.page_info(info)?))
    }

    /// #PF at a version slot unless its page is one of versions.
    pub(super) fn require_versions(&self, slot: Page<'e>) -> Result<(), Stop> {
        if slot.entry.attributes().is(PageType::Va) {
            Ok(())
        } else {
            Err(self.page_fault(slot.address, Access::Write))
        }
    }

    /// Whether nobody can use the page any more; the number of its enclave, for software.
    fn evictable(&self, page: Page<'e>, attributes: Attributes) -> Result<u64, Stop> {
        match attributes.kind {
            PageType::Va => Ok(0),
            PageType::Secs => {
                if page.entry.children() != 0 {
                    return Err(ErrorCode::ChildPresent.into());
                }
                Ok(self.secs(page.number).eid())
            }
            _ => {
                if !attributes.blocked {
                    return Err(ErrorCode::PageNotBlocked.into());
                }
                let parent = self.parent(page)?;
                if !parent.entry.tracking().is_over(page.entry.epoch()) {
                    return Err(ErrorCode::NotTracked.into());
                }
                Ok(self.secs(parent.number).eid())
            }
        }
    }

    fn begin_eviction(
        &self,
        key: TransferKey,
        page: Page<'e>,
        attributes: Attributes,
        eid: u64,
    ) -> Transfer {
        let bound = if attributes.kind.is_child() { eid } else { 0 };
        let mut secinfo = Secinfo::zeroed();
        secinfo.set_flags(attributes.secinfo_flags());
        let header = header(bound, page.entry.address(), &[0; 40], &secinfo.0);
        let version = self.platform.new_version();
        Transfer {
            key,
            header,
            cipher: PageCipher::new(&self.platform.secrets().page_key, version, &header),
            version,
            done: 0,
        }
    }

    fn encrypt_slice(&mut self, work: &mut Transfer, page: Page<'e>, out: u64) -> Result<(), Stop> {
        let mut chunk = [0; CHUNK];
        for _ in 0..SLICE / CHUNK {
            self.machine.load(page.number, work.done, &mut chunk);
            work.cipher.encrypt(&mut chunk);
            self.machine.write(out + work.done as u64, &chunk)?;
            work.done += CHUNK;
        }
        Ok(())
    }

    fn finish_eviction(
        &mut self,
        page: Page<'e>,
        attributes: Attributes,
        slot: Page<'e>,
        version: u64,
    ) -> Result<(), Stop> {
        slot.entry.touch();
        let offset = (slot.address % PAGE) as usize;
        let place = self.place(slot)?;
        let before = self.machine.swap_word(place, offset, version);
        match attributes.kind {
            PageType::Va | PageType::Secs => page.entry.vacate(),
            _ => {
                let parent = self.parent(page)?;
                page.entry.vacate();
                parent.entry.discount_child();
            }
        }
        if before == 0 {
            Ok(())
        } else {
            Err(Stop::Remark(ErrorCode::VaSlotOccupied))
        }
    }
}

/// MAC_HDR.
pub(super) fn header(eid: u64, address: u64, spare: &[u8; 40], secinfo: &[u8; 64]) -> Header {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&eid.to_le_bytes());
    header[8..16].copy_from_slice(&address.to_le_bytes());
    header[16..56].copy_from_slice(spare);
    header[64..].copy_from_slice(secinfo);
    header
}
