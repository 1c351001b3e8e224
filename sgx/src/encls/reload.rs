//! ELDB, ELDU, ELDBC, ELDUC (SDM, ELDB/ELDU/ELDBC/ELDUC): a page comes back, in slices, if it is the one that went out last with its version.

use super::evict::{SLICE, Transfer, TransferKey, header};
use super::{Context, PAGE, Page, require};
use crate::epcm::{Attributes, Claim, EpcPage, PageType};
use crate::error::ErrorCode;
use crate::fault::Access;
use crate::keys;
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::page_cipher::{CHUNK, PageCipher};
use crate::structures::{Pageinfo, Pcmd, Secinfo};

/// Which of the four leaves.
#[derive(Clone, Copy)]
pub(super) struct Reload {
    blocked: bool,
    /// Conflicts are told by an error code, not by #GP.
    code: bool,
}

impl Reload {
    pub const BLOCKED: Self = Self {
        blocked: true,
        code: false,
    };
    pub const UNBLOCKED: Self = Self {
        blocked: false,
        code: false,
    };

    pub const fn with_code(self) -> Self {
        Self { code: true, ..self }
    }

    fn claimed<'e>(self, claim: Option<Claim<'e>>) -> Result<Claim<'e>, Stop> {
        claim.ok_or(if self.code {
            Stop::Code(ErrorCode::EpcPageConflict)
        } else {
            Stop::GENERAL_PROTECTION
        })
    }
}

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn eld(
        &mut self,
        leaf: Reload,
        transfer: &mut Option<Transfer>,
    ) -> Result<(), Stop> {
        let (operands, page, slot, info) = self.transfer_operands()?;
        let pcmd = self.address(info.secinfo(), 128)?;
        let source = self.address(info.srcpge(), PAGE)?;
        let _claim = leaf.claimed(page.entry.claim())?;
        let _share = leaf.claimed(slot.entry.share())?;
        if page.entry.attributes().valid {
            return Err(self.page_fault(page.address, Access::Write));
        }
        self.require_versions(slot)?;
        let mut described = Pcmd::zeroed();
        self.machine.read(pcmd, &mut described.0)?;
        let key = TransferKey {
            out: false,
            operands,
            info: info.0,
            page: page.number,
            stamp: page.entry.stamp(),
            slot: slot.number,
        };
        let secinfo = Secinfo(*described.secinfo());
        let kind = secinfo.page_type();
        let parent = self.reload_parent(kind, &info)?;
        let _parent_share = match parent {
            Some(parent) => Some(leaf.claimed(parent.entry.share())?),
            None => None,
        };
        let mut eid = 0;
        if let Some(parent) = parent {
            self.require_secs(parent)?;
            eid = self.secs(parent.number).eid();
        }
        let header = header(eid, info.linaddr(), described.spare(), &secinfo.0);
        let going = |work: &Transfer| work.key == key && work.header == header;
        if !transfer.as_ref().is_some_and(going) {
            *transfer = None;
            *transfer = Some(self.begin_reload(key, header, page, slot, source)?);
        }
        let work = Transfer::going(transfer, |work| {
            self.decrypt_slice(work, page);
            Ok(())
        })?;
        let tag = work.cipher.tag(PAGE);
        let version = work.version;
        *transfer = None;
        let offset = (slot.address % PAGE) as usize;
        let authentic = keys::is_equal(&tag, described.mac());
        let Some(kind) = kind.filter(|_| authentic && secinfo.is_well_formed()) else {
            return Err(ErrorCode::MacCompareFail.into());
        };
        slot.entry.touch();
        // Another core may have loaded the page by the same slot.
        let place = self.place(slot)?;
        if !self.machine.exchange_word(place, offset, version, 0) {
            return Err(ErrorCode::MacCompareFail.into());
        }
        self.finish_reload(leaf, page, kind, parent, &secinfo, info.linaddr());
        Ok(())
    }

    /// The SECS that PAGEINFO names for a child; for others there must be none.
    fn reload_parent(
        &mut self,
        kind: Option<PageType>,
        info: &Pageinfo,
    ) -> Result<Option<Page<'e>>, Stop> {
        if kind.is_some_and(PageType::is_child) {
            let address = self.address(info.secs(), PAGE)?;
            Ok(Some(self.epc(address, Access::Write)?))
        } else {
            require(info.secs() == 0)?;
            Ok(None)
        }
    }

    fn begin_reload(
        &mut self,
        mut key: TransferKey,
        header: [u8; 128],
        page: Page<'e>,
        slot: Page<'e>,
        source: u64,
    ) -> Result<Transfer, Stop> {
        page.entry.touch();
        key.stamp = page.entry.stamp();
        self.machine.copy_in(source, page.number)?;
        let mut version = [0; 8];
        let offset = (slot.address % PAGE) as usize;
        self.machine.load(slot.number, offset, &mut version);
        let version = u64::from_le_bytes(version);
        Ok(Transfer {
            key,
            header,
            cipher: PageCipher::new(&self.platform.secrets().page_key, version, &header),
            version,
            done: 0,
        })
    }

    fn decrypt_slice(&mut self, work: &mut Transfer, page: Page<'e>) {
        let mut chunk = [0; CHUNK];
        for _ in 0..SLICE / CHUNK {
            self.machine.load(page.number, work.done, &mut chunk);
            work.cipher.decrypt(&mut chunk);
            self.machine.store(page.number, work.done, &chunk);
            work.done += CHUNK;
        }
    }

    fn finish_reload(
        &mut self,
        leaf: Reload,
        page: Page<'e>,
        kind: PageType,
        parent: Option<Page<'e>>,
        secinfo: &Secinfo,
        address: u64,
    ) {
        let secs = parent.map_or(EpcPage(0), |parent| parent.number);
        let mut attributes = Attributes::of(kind, secs);
        attributes.set_rights_and_states(secinfo.flags());
        attributes.blocked = leaf.blocked && kind.is_child();
        if let Some(parent) = parent {
            parent.entry.count_child();
        }
        // Nothing is left to be tracked: nobody could translate to the page while it was not there, and what was changed before it went
        // out was tracked then.
        page.entry.occupy(attributes, address);
    }
}
