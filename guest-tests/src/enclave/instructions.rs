//! What the operating system's instructions cost that build an enclave and move its pages out and in, each for itself: executed in kernel
//! mode, interrupts off, on pages of the EPC that the driver has free.
#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _rdtsc};

use anyhow::{Result, ensure};

use super::image::{HEAP_FLAGS, PAGE};
use crate::paging::{PRESENT_WRITABLE_USER, entry};
use crate::{kernel_mode, raw, startup};

/// Pages with which everything is done.
pub const PAGES: usize = 31;
/// Instructions of EEXTEND for a page.
const PARTS: usize = 16;
/// Bytes that one of them measures.
const PART: usize = 256;
/// Pages of the EPC that are used: the SECS, versions, and those.
const USED: usize = 2 + PAGES;
/// First page of the enclave.
const BASE: u64 = 1 << 30;
/// Its size.
const SIZE: u64 = 1 << 20;

/// Leaves of ENCLS.
mod leaf {
    pub const ECREATE: u64 = 0;
    pub const EADD: u64 = 1;
    pub const EREMOVE: u64 = 3;
    pub const EEXTEND: u64 = 6;
    pub const ELDU: u64 = 8;
    pub const EBLOCK: u64 = 9;
    pub const EPA: u64 = 10;
    pub const EWB: u64 = 11;
    pub const ETRACK: u64 = 12;
}

/// Ticks of the instructions for each page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// EADD.
    pub add: u64,
    /// All EEXTEND.
    pub extend: u64,
    /// EBLOCK.
    pub block: u64,
    /// EWB.
    pub write_back: u64,
    /// ELDU.
    pub load: u64,
}

#[repr(C, align(4096))]
struct Aligned([u8; PAGE]);

/// PAGEINFO.
#[repr(C, align(32))]
struct PageInformation([u64; 4]);

/// What goes to kernel mode, and what comes back.
struct Errand {
    base_variable: u64,
    /// Where pages of the EPC are put.
    window: u64,
    /// The first of them.
    physical: u64,
    secs: Aligned,
    source: Aligned,
    encrypted: Aligned,
    /// SECINFO, then PCMD.
    about: Aligned,
    information: PageInformation,
    costs: [Costs; PAGES],
    /// What has not gone well first: the leaf and its result.
    failure: Option<(u64, u64)>,
}

impl Errand {
    fn page(&self, number: usize) -> u64 {
        self.window + (number * PAGE) as u64
    }

    /// Executes a leaf; its ticks.
    fn execute(&mut self, leaf: u64, rbx: u64, rcx: u64, rdx: u64) -> u64 {
        let mut result = leaf;
        // SAFETY: kernel mode, on pages of the EPC that nobody uses; LLVM keeps RBX for itself. What faults ends the machine.
        let ticks = unsafe {
            let begin = _rdtsc();
            asm!(
                "xchg {rbx}, rbx", ".byte 0x0f, 0x01, 0xcf", "mov rbx, {rbx}",
                rbx = inout(reg) rbx => _,
                inout("rax") result, in("rcx") rcx, in("rdx") rdx,
            );
            _rdtsc() - begin
        };
        // Leaves that give no code leave RAX as it was.
        if result != 0 && result != leaf && self.failure.is_none() {
            self.failure = Some((leaf, result));
        }
        ticks
    }

    fn build(&mut self) {
        let (secs, versions) = (self.page(0), self.page(1));
        let about = &raw const self.about as u64;
        let information = &raw const self.information as u64;
        self.information.0 = [0, &raw const self.secs as u64, about, 0];
        self.execute(leaf::ECREATE, information, secs, 0);
        // PT_VA.
        self.execute(leaf::EPA, 3, versions, 0);
        self.about.0[..8].copy_from_slice(&HEAP_FLAGS.to_le_bytes());
        for number in 0..PAGES {
            let (page, address) = (self.page(2 + number), BASE + (number * PAGE) as u64);
            self.information.0 = [address, &raw const self.source as u64, about, secs];
            self.costs[number].add = self.execute(leaf::EADD, information, page, 0);
            for part in 0..PARTS {
                let part = page + (part * PART) as u64;
                self.costs[number].extend += self.execute(leaf::EEXTEND, secs, part, 0);
            }
        }
    }

    fn exchange(&mut self) {
        let (secs, versions) = (self.page(0), self.page(1));
        let about = &raw const self.about as u64;
        let information = &raw const self.information as u64;
        for number in 0..PAGES {
            let page = self.page(2 + number);
            let slot = versions + 8 * number as u64;
            self.costs[number].block = self.execute(leaf::EBLOCK, 0, page, 0);
            self.execute(leaf::ETRACK, 0, secs, 0);
            self.information.0 = [0, &raw const self.encrypted as u64, about, 0];
            self.costs[number].write_back = self.execute(leaf::EWB, information, page, slot);
            // EWB has put the page's address into the first word.
            self.information.0[3] = secs;
            self.costs[number].load = self.execute(leaf::ELDU, information, page, slot);
        }
    }

    fn remove(&mut self) {
        for number in (0..USED).rev() {
            let page = self.page(number);
            self.execute(leaf::EREMOVE, 0, page, 0);
        }
    }
}

extern "C" fn run(argument: u64) {
    let it: &mut Errand = raw::borrowed(argument);
    let mut before = [0; USED];
    // SAFETY: in kernel mode the variable holds where all memory is mapped. The window is this test's, has tables, and gets its entries
    // back before anything else of the process runs.
    unsafe {
        let base = (it.base_variable as *const u64).read_volatile();
        for (number, before) in before.iter_mut().enumerate() {
            let address = it.page(number);
            let physical = it.physical + (number * PAGE) as u64;
            *before = entry(base, address, 1).replace(physical | PRESENT_WRITABLE_USER);
            asm!("invlpg [{0}]", in(reg) address, options(nostack));
        }
    }
    it.build();
    it.exchange();
    it.remove();
    // SAFETY: as above.
    unsafe {
        let base = (it.base_variable as *const u64).read_volatile();
        for (number, before) in before.iter().enumerate() {
            let address = it.page(number);
            entry(base, address, 1).write(*before);
            asm!("invlpg [{0}]", in(reg) address, options(nostack));
        }
    }
}

/// What they cost for each of some pages. Nobody else may use enclaves meanwhile, and the machine has one core.
///
/// # Errors
/// What setting it up meets, and instructions that fail.
pub fn costs() -> Result<[Costs; PAGES]> {
    let window = raw::anonymous_in_small_pages((USED * PAGE) as u64)?;
    for number in 0..USED {
        raw::store(window + (number * PAGE) as u64, 1);
    }
    let mut errand = Box::new(Errand {
        base_variable: startup::base_variable()?,
        window,
        physical: last_of_epc()?,
        secs: Aligned([0; PAGE]),
        source: Aligned([0x5a; PAGE]),
        encrypted: Aligned([0; PAGE]),
        about: Aligned([0; PAGE]),
        information: PageInformation([0; 4]),
        costs: [Costs::default(); PAGES],
        failure: None,
    });
    let mut put = |place: usize, word: u64| {
        errand.secs.0[place..place + 8].copy_from_slice(&word.to_le_bytes());
    };
    put(0, SIZE);
    put(8, BASE);
    // SSAFRAMESIZE, MODE64BIT, x87 and SSE state.
    put(16, 1);
    put(48, 1 << 2);
    put(56, 3);
    kernel_mode::run(run, &raw mut *errand as u64)?;
    ensure!(
        errand.failure.is_none(),
        "a leaf and its result: {:?}",
        errand.failure
    );
    Ok(errand.costs)
}

/// The physical address of the last pages of the first section of the EPC, which the driver gives out last.
fn last_of_epc() -> Result<u64> {
    const SGX: u32 = 0x12;
    const FIRST_SECTION: u32 = 2;
    let leaf = __cpuid_count(SGX, FIRST_SECTION);
    ensure!(leaf.eax & 0xf == 1, "there is no EPC");
    let word = |low: u32, high: u32| u64::from(high & 0xf_ffff) << 32 | u64::from(low & !0xfff);
    let (start, size) = (word(leaf.eax, leaf.ebx), word(leaf.ecx, leaf.edx));
    Ok(start + size - (USED * PAGE) as u64)
}
