//! The machine as a leaf sees it: one core, on behalf of domain 0's vCPU on it.

use core::sync::atomic::Ordering;

use adyton_sgx::{Access, Control, EpcPage, Fault, Machine, Mode, Platform};

use super::epc::Place;
use super::trails::Trails;
use super::{RESTRICTIONS, epc, extended, launch, platform};
use crate::address::{GuestPhysical, GuestVirtual, PAGE_SIZE};
use crate::cores::Core;
use crate::domain::memory::CallerMemory;
use crate::guest::walk::{self, Kind, Regime};
use crate::vcpu::Vcpu;

/// A flat segment's limit.
const FLAT: u32 = u32::MAX;
const OSFXSR: u64 = 1 << 9;
const OSXSAVE: u64 = 1 << 18;

/// Who executes a leaf.
pub(super) struct Caller<'a> {
    pub(super) core: &'static Core,
    pub(super) vcpu: &'a mut Vcpu,
    /// Domain 0's address space.
    pub(super) regime: &'a Regime,
    /// Of a program outside enclave mode.
    pub(super) trails: Option<&'a Trails>,
}

impl Caller<'_> {
    fn is_user(&self) -> bool {
        self.vcpu.cpl() == 3
    }

    #[inline]
    fn translate(&self, address: u64, kind: Kind) -> Result<GuestPhysical, Fault> {
        if let Some(trails) = self.trails {
            let memory = CallerMemory::new(self.vcpu);
            return trails.walk(memory, address, kind).map_err(raised);
        }
        let access = walk::Access {
            kind,
            user: self.is_user(),
            // A leaf of the kernel's that reads user pages is bound by SMAP as any instruction is.
            alignment_check: self.vcpu.rflags() & 1 << 18 != 0,
        };
        let memory = CallerMemory::new(self.vcpu);
        // WRPKRU inside and the vector state that ERESUME loads change the protection keys.
        let keys = self.vcpu.protection_keys();
        let regime = self.regime.with_protection_keys(keys);
        let found = regime.translate(&memory, GuestVirtual(address), access);
        Ok(found.map_err(raised)?.address)
    }

    /// Does `each` to the parts of `length` bytes at `address` that lie in one page: with the host's address, `None` for what is
    /// not RAM of the caller's, the offset from the start, and the number of bytes.
    fn for_each_part(
        &self,
        address: u64,
        length: usize,
        kind: Kind,
        mut each: impl FnMut(Option<u64>, usize, usize),
    ) -> Result<(), Fault> {
        let memory = CallerMemory::new(self.vcpu);
        let mut done = 0;
        while done < length {
            let start = address.wrapping_add(done as u64);
            let place = self.translate(start, kind)?;
            let in_page = (PAGE_SIZE - start % PAGE_SIZE) as usize;
            let part = in_page.min(length - done);
            let host = match kind {
                Kind::Write => memory.writable(place),
                Kind::Read | Kind::Execute => memory.readable(place),
            };
            if host.is_none() && epc::page_at(place.value()).is_none() && self.is_user() {
                // Carved memory, as any other touch of it.
                return Err(Fault::epcm(start, access_of(kind), true));
            }
            each(host.map(|host| host.value()), done, part);
            done += part;
        }
        Ok(())
    }
}

/// What the EPCM is asked about an access.
pub(super) fn access_of(kind: Kind) -> Access {
    match kind {
        Kind::Read => Access::Read,
        Kind::Write => Access::Write,
        Kind::Execute => Access::Execute,
    }
}

/// What the caller gets for a walk that leads nowhere.
pub(super) fn raised(fault: walk::Fault) -> Fault {
    match fault {
        walk::Fault::Page(fault) => Fault {
            vector: Fault::PF,
            error: fault.error_code,
            address: fault.address.value(),
        },
        _ => Fault::general_protection(),
    }
}

impl Machine<'static> for Caller<'_> {
    type Place = Place;

    #[inline(always)]
    fn place(&self, page: EpcPage) -> Option<Place> {
        Place::of(page)
    }

    #[inline(always)]
    fn word(&self, place: Place, offset: usize) -> u64 {
        place.word(offset).load(Ordering::Acquire)
    }

    #[inline(always)]
    fn set_word(&mut self, place: Place, offset: usize, value: u64) {
        place.word(offset).store(value, Ordering::Release);
    }

    #[inline(always)]
    fn exchange_word(&mut self, place: Place, offset: usize, current: u64, new: u64) -> bool {
        let word = place.word(offset);
        let exchanged = word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst);
        exchanged.is_ok()
    }

    #[inline(always)]
    fn swap_word(&mut self, place: Place, offset: usize, new: u64) -> u64 {
        place.word(offset).swap(new, Ordering::SeqCst)
    }

    fn platform(&self) -> &'static Platform<'static> {
        platform()
    }

    #[inline]
    fn mode(&self) -> Mode {
        let cr4 = self.vcpu.cr4();
        Mode {
            long: self.vcpu.is_64_bit(),
            privilege: self.vcpu.cpl(),
            osfxsr: cr4 & OSFXSR != 0,
            osxsave: cr4 & OSXSAVE != 0,
            code_limit: FLAT,
            data_limit: FLAT,
            flat: true,
        }
    }

    fn launch_key_hash(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (part, word) in bytes.chunks_exact_mut(8).zip(launch::key(self.core)) {
            part.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let length = bytes.len();
        self.for_each_part(address, length, Kind::Read, |host, done, part| {
            let Some(target) = bytes.get_mut(done..done + part) else {
                return;
            };
            match host {
                // SAFETY: RAM that the caller may read, mapped one to one; it stays until this core leaves the monitor. The caller may
                // change it meanwhile: what is used is the copy.
                Some(host) => unsafe {
                    core::ptr::copy_nonoverlapping(host as *const u8, target.as_mut_ptr(), part);
                },
                None => target.fill(0xff),
            }
        })
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.for_each_part(address, bytes.len(), Kind::Write, |host, done, part| {
            if let (Some(host), Some(source)) = (host, bytes.get(done..done + part)) {
                // SAFETY: RAM that the caller may write, mapped one to one; it stays until this core leaves the monitor.
                unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), host as *mut u8, part) };
            }
        })
    }

    fn probe(&mut self, address: u64, length: usize) -> Result<(), Fault> {
        self.for_each_part(address, length, Kind::Write, |_, _, _| {})
    }

    #[inline]
    fn epc_page(&mut self, address: u64, access: Access) -> Result<Option<EpcPage>, Fault> {
        let kind = match access {
            Access::Read => Kind::Read,
            Access::Write => Kind::Write,
            Access::Execute => Kind::Execute,
        };
        Ok(epc::page_at(self.translate(address, kind)?.value()))
    }

    fn physical(&self, page: EpcPage) -> u64 {
        epc::place(page).map_or(u64::MAX, |place| place.value())
    }

    #[inline(always)]
    fn load(&self, page: EpcPage, offset: usize, bytes: &mut [u8]) {
        epc::load(page, offset, bytes);
    }

    #[inline(always)]
    fn store(&mut self, page: EpcPage, offset: usize, bytes: &[u8]) {
        epc::store(page, offset, bytes);
    }

    fn zero(&mut self, page: EpcPage) {
        epc::zero(page);
    }

    fn copy(&mut self, from: EpcPage, to: EpcPage) {
        epc::copy(from, to);
    }

    fn copy_in(&mut self, from: u64, to: EpcPage) -> Result<(), Fault> {
        self.for_each_part(from, PAGE_SIZE as usize, Kind::Read, |host, done, part| {
            let Some(target) = epc::place(to) else {
                return;
            };
            let target = (target.value() + done as u64) as *mut u8;
            // SAFETY: the target is a part of an EPC page that the leaf has claimed; the source is RAM that the caller may read.
            unsafe {
                match host {
                    Some(host) => core::ptr::copy_nonoverlapping(host as *const u8, target, part),
                    None => core::ptr::write_bytes(target, 0xff, part),
                }
            }
        })
    }

    fn forget(&mut self, _page: EpcPage) {
        // Ordering: the EPCM says it already, and who is inside is looked at afterwards (design note 007).
        RESTRICTIONS.fetch_add(1, Ordering::SeqCst);
    }

    #[inline(always)]
    fn restrictions(&self) -> u64 {
        RESTRICTIONS.load(Ordering::SeqCst)
    }

    fn save_extended(&mut self, xfrm: u64, pages: &[EpcPage]) {
        extended::save(&self.vcpu.vector, xfrm, pages);
    }

    fn load_extended(&mut self, xfrm: u64, pages: &[EpcPage]) {
        extended::load(&mut self.vcpu.vector, xfrm, pages);
        self.vcpu.reload_x87();
    }

    fn reset_extended(&mut self, xfrm: u64, control: Control) {
        extended::reset(&mut self.vcpu.vector, xfrm, control);
        self.vcpu.reload_x87();
    }
}
