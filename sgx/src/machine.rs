//! The seam: what leaves ask of the machine that executes them.
//!
//! Linear addresses come as they stand in registers and structures, already found canonical (64-bit) or cut to 32 bits.
//! The EPC is named by page ([`EpcPage`], dense over all sections); its bytes are reached by page and offset, never by the caller's
//! tables, so that what a leaf checked is what it uses.

use crate::epcm::EpcPage;
use crate::fault::{Access, Fault};
use crate::platform::Platform;

/// The mode in which the instruction is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// IA32_EFER.LMA and CS.L.
    pub long: bool,
    /// Current privilege level.
    pub privilege: u8,
    /// CR4.OSFXSR.
    pub osfxsr: bool,
    /// CR4.OSXSAVE.
    pub osxsave: bool,
    /// Limit of CS in bytes, used outside 64-bit mode.
    pub code_limit: u32,
    /// Limit of DS in bytes, used outside 64-bit mode.
    pub data_limit: u32,
    /// Outside 64-bit mode: CS, DS, SS and ES are flat (base 0, where usable), DS does not expand down, SS is a 32-bit segment.
    pub flat: bool,
}

/// Control and status registers of x87 and SSE after an asynchronous exit (SDM, section 37.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// x87 control word.
    pub fcw: u16,
    /// x87 status word.
    pub fsw: u16,
    /// MXCSR.
    pub mxcsr: u32,
}

/// One core, on behalf of the guest that executes `ENCLS` or `ENCLU`. `'e` is the life of the EPC.
pub trait Machine<'e> {
    /// Where the bytes of an EPC page are, found out once for many accesses.
    type Place: Copy;

    /// The EPCM, secrets and limits, the same for all cores.
    fn platform(&self) -> &'e Platform<'e>;
    /// How the instruction is executed.
    fn mode(&self) -> Mode;
    /// IA32_SGXLEPUBKEYHASH0 to 3 of this core, little-endian.
    fn launch_key_hash(&self) -> [u8; 32];

    /// Reads the caller's memory as a load of its own would, outside enclave mode: with its rights, its privilege, its fault.
    /// EPC reads as ones.
    ///
    /// # Errors
    ///
    /// The fault that the load would have raised.
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Fault>;
    /// Writes likewise; writes to EPC are dropped.
    ///
    /// # Errors
    ///
    /// The fault that the store would have raised; then nothing, or a first part, is written.
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault>;
    /// Finds out whether a store to these bytes would fault.
    ///
    /// # Errors
    ///
    /// The fault that the store would raise.
    fn probe(&mut self, address: u64, length: usize) -> Result<(), Fault>;
    /// The EPC page to which the caller's own tables lead an address, `None` if that is other memory. Accessed and dirty bits are set as by
    /// the access. The EPCM is not asked.
    ///
    /// # Errors
    ///
    /// The fault that the tables raise for the access at the current privilege level.
    fn epc_page(&mut self, address: u64, access: Access) -> Result<Option<EpcPage>, Fault>;

    /// Guest-physical address of an EPC page.
    fn physical(&self, page: EpcPage) -> u64;
    /// Where the bytes of an EPC page are; `None` for a number beyond the EPC.
    fn place(&self, page: EpcPage) -> Option<Self::Place>;
    /// A word of an EPC page; `offset` is a multiple of 8 below 4096.
    fn word(&self, place: Self::Place, offset: usize) -> u64;
    /// Writes a word of an EPC page; whoever reads it on another core sees all that was written before.
    fn set_word(&mut self, place: Self::Place, offset: usize, value: u64);
    /// Replaces a word if it has the value `current`, atomically on all cores; whether it had.
    fn exchange_word(&mut self, place: Self::Place, offset: usize, current: u64, new: u64) -> bool;
    /// Replaces a word atomically on all cores; what it was.
    fn swap_word(&mut self, place: Self::Place, offset: usize, new: u64) -> u64;

    /// Reads bytes of an EPC page; `offset + bytes.len() <= 4096`.
    fn load(&self, page: EpcPage, offset: usize, bytes: &mut [u8]);
    /// Writes bytes of an EPC page.
    fn store(&mut self, page: EpcPage, offset: usize, bytes: &[u8]);
    /// Zeroes an EPC page.
    fn zero(&mut self, page: EpcPage);
    /// Copies an EPC page.
    fn copy(&mut self, from: EpcPage, to: EpcPage);
    /// Fills an EPC page from 4096 bytes of the caller's memory, as [`read`](Machine::read) does.
    ///
    /// # Errors
    ///
    /// The fault of the load; the page then holds part of it.
    fn copy_in(&mut self, from: u64, to: EpcPage) -> Result<(), Fault>;

    /// The EPCM gives fewer rights to a page than before, or other ones: no thread that enters after this call may use a translation to it that
    /// was made from what the EPCM said before. What a thread inside has, or is about to load, may live until it leaves, which tracking
    /// accounts for.
    fn forget(&mut self, page: EpcPage);
    /// A number that each [`forget`](Machine::forget) changes, on all cores, and nothing else. Read in one order with who is counted as inside an
    /// enclave (sequentially consistent).
    fn restrictions(&self) -> u64;

    /// Saves the extended state that `xfrm` selects into SSA pages, in the standard format of XSAVE (64-bit format in 64-bit mode).
    fn save_extended(&mut self, xfrm: u64, pages: &[EpcPage]);
    /// Loads extended state from SSA pages. The header and MXCSR have been found valid for `xfrm`.
    fn load_extended(&mut self, xfrm: u64, pages: &[EpcPage]);
    /// Puts the extended state that `xfrm` selects into its initial configuration, but for these registers.
    fn reset_extended(&mut self, xfrm: u64, control: Control);
}
