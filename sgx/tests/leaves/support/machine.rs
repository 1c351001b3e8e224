//! A machine made of vectors: EPC, other memory, page tables as a map, vector state as bytes.

use std::cell::Cell;
use std::collections::BTreeMap;

pub use adyton_sgx::Mode;
use adyton_sgx::fault::PageFault;
use adyton_sgx::{
    Access, Capabilities, Control, EpcPage, EpcmEntry, Fault, Machine, Platform, Secrets,
};

pub const PAGE: u64 = 4096;
pub type Bytes = [u8; PAGE as usize];

/// What a linear page leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Epc(EpcPage),
    Memory(usize),
}

/// An entry of the operating system's page tables.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    pub target: Target,
    pub write: bool,
    pub user: bool,
}

/// When another core takes something away from a page.
#[derive(Clone, Copy, Debug)]
pub enum Restricts {
    No,
    /// Once it was looked how often that has happened.
    AfterALook,
    Now,
}

/// One processor with its memory; cores take turns on it.
pub struct Model {
    pub platform: &'static Platform<'static>,
    pub epc: Vec<Bytes>,
    pub memory: Vec<Bytes>,
    pub tables: BTreeMap<u64, Mapping>,
    pub mode: Mode,
    pub launch_key_hash: [u8; 32],
    /// The XSAVE area that the core's extended state would make.
    pub vector: Vec<u8>,
    pub control: Option<Control>,
    /// EPC pages whose translations were to be forgotten.
    pub forgotten: Vec<EpcPage>,
    /// What another core writes just before the next word is exchanged: where, and the bytes.
    pub meanwhile: Vec<(EpcPage, usize, Vec<u8>)>,
    /// Whether another core takes something away.
    pub restricts: Cell<Restricts>,
}

/// Secrets of one machine; other seeds make other machines.
pub fn secrets(seed: u8) -> Secrets {
    Secrets {
        root: [seed; 16],
        seal_fuses: [seed ^ 0x11; 16],
        owner_epoch: [seed ^ 0x22; 16],
        cpusvn: [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3],
        report_key_id: [seed ^ 0x33; 32],
        page_key: [seed ^ 0x44; 16],
    }
}

/// In the kernel, in 64-bit mode.
pub const KERNEL: Mode = Mode {
    long: true,
    privilege: 0,
    osfxsr: true,
    osxsave: true,
    code_limit: u32::MAX,
    data_limit: u32::MAX,
    flat: true,
};

impl Model {
    pub fn new(pages: usize, secrets: Secrets, capabilities: Capabilities) -> Self {
        let epcm: Vec<EpcmEntry> = (0..pages).map(|_| EpcmEntry::default()).collect();
        let platform = Platform::new(Vec::leak(epcm), secrets, capabilities);
        let size = capabilities.xsave_size(capabilities.xfrm) as usize;
        Self {
            platform: Box::leak(Box::new(platform)),
            epc: vec![[0xEE; PAGE as usize]; pages],
            memory: Vec::new(),
            tables: BTreeMap::new(),
            mode: KERNEL,
            launch_key_hash: [0; 32],
            vector: vec![0; size],
            control: None,
            forgotten: Vec::new(),
            meanwhile: Vec::new(),
            restricts: Cell::new(Restricts::No),
        }
    }

    pub fn entry(&self, page: EpcPage) -> &'static EpcmEntry {
        self.platform.entry(page).expect("within the EPC")
    }

    fn walk(&self, address: u64, access: Access) -> Result<Target, Fault> {
        let user = self.mode.privilege == 3;
        let mut code = PageFault::empty();
        code.set(PageFault::USER, user);
        code.set(PageFault::WRITE, access == Access::Write);
        let fault = |code: PageFault| Fault {
            vector: Fault::PF,
            error: code.bits(),
            address,
        };
        let mapping = self.tables.get(&(address & !(PAGE - 1)));
        let mapping = mapping.ok_or(fault(code))?;
        if user && !mapping.user || access == Access::Write && !mapping.write {
            return Err(fault(code | PageFault::PRESENT));
        }
        Ok(mapping.target)
    }

    /// The pieces of an access, page by page: address, and where they lie in the buffer.
    fn pieces(address: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = address + done as u64;
            let step = (length - done).min((PAGE - at % PAGE) as usize);
            let range = done..done + step;
            done += step;
            (step != 0).then_some((at, range))
        })
    }
}

impl Machine<'static> for Model {
    type Place = EpcPage;

    fn place(&self, page: EpcPage) -> Option<EpcPage> {
        ((page.0 as usize) < self.epc.len()).then_some(page)
    }

    fn word(&self, place: EpcPage, offset: usize) -> u64 {
        let mut bytes = [0; 8];
        self.load(place, offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn set_word(&mut self, place: EpcPage, offset: usize, value: u64) {
        self.store(place, offset, &value.to_le_bytes());
    }

    fn exchange_word(&mut self, place: EpcPage, offset: usize, current: u64, new: u64) -> bool {
        for (page, offset, bytes) in std::mem::take(&mut self.meanwhile) {
            self.store(page, offset, &bytes);
        }
        let is_current = self.word(place, offset) == current;
        if is_current {
            self.set_word(place, offset, new);
        }
        is_current
    }

    fn swap_word(&mut self, place: EpcPage, offset: usize, new: u64) -> u64 {
        let old = self.word(place, offset);
        self.set_word(place, offset, new);
        old
    }

    fn platform(&self) -> &'static Platform<'static> {
        self.platform
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn launch_key_hash(&self) -> [u8; 32] {
        self.launch_key_hash
    }

    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        for (at, range) in Self::pieces(address, bytes.len()) {
            let start = (at % PAGE) as usize;
            match self.walk(at, Access::Read)? {
                Target::Epc(_) => bytes[range].fill(0xFF),
                Target::Memory(page) => {
                    let length = range.len();
                    bytes[range].copy_from_slice(&self.memory[page][start..start + length]);
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        for (at, range) in Self::pieces(address, bytes.len()) {
            let start = (at % PAGE) as usize;
            if let Target::Memory(page) = self.walk(at, Access::Write)? {
                self.memory[page][start..start + range.len()].copy_from_slice(&bytes[range]);
            }
        }
        Ok(())
    }

    fn probe(&mut self, address: u64, length: usize) -> Result<(), Fault> {
        Self::pieces(address, length).try_for_each(|(at, _)| self.walk(at, Access::Write).map(drop))
    }

    fn epc_page(&mut self, address: u64, access: Access) -> Result<Option<EpcPage>, Fault> {
        Ok(match self.walk(address, access)? {
            Target::Epc(page) => Some(page),
            Target::Memory(_) => None,
        })
    }

    fn physical(&self, page: EpcPage) -> u64 {
        0x10_0000_0000 + u64::from(page.0) * PAGE
    }

    fn load(&self, page: EpcPage, offset: usize, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.epc[page.0 as usize][offset..offset + bytes.len()]);
    }

    fn store(&mut self, page: EpcPage, offset: usize, bytes: &[u8]) {
        self.epc[page.0 as usize][offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn zero(&mut self, page: EpcPage) {
        self.epc[page.0 as usize].fill(0);
    }

    fn copy(&mut self, from: EpcPage, to: EpcPage) {
        self.epc[to.0 as usize] = self.epc[from.0 as usize];
    }

    fn copy_in(&mut self, from: u64, to: EpcPage) -> Result<(), Fault> {
        let mut bytes = [0; PAGE as usize];
        self.read(from, &mut bytes)?;
        self.epc[to.0 as usize] = bytes;
        Ok(())
    }

    fn forget(&mut self, page: EpcPage) {
        self.forgotten.push(page);
    }

    fn restrictions(&self) -> u64 {
        let number = self.forgotten.len() as u64;
        match self.restricts.get() {
            Restricts::No => number,
            Restricts::AfterALook => {
                self.restricts.set(Restricts::Now);
                number
            }
            Restricts::Now => number + 1,
        }
    }

    fn save_extended(&mut self, xfrm: u64, pages: &[EpcPage]) {
        let mut area = self.vector.clone();
        area[512..520].copy_from_slice(&xfrm.to_le_bytes());
        area[520..536].fill(0);
        for (page, bytes) in pages.iter().zip(area.chunks(PAGE as usize)) {
            self.store(*page, 0, bytes);
        }
    }

    fn load_extended(&mut self, _xfrm: u64, pages: &[EpcPage]) {
        let mut area = vec![0; pages.len() * PAGE as usize];
        for (page, bytes) in pages.iter().zip(area.chunks_mut(PAGE as usize)) {
            self.load(*page, 0, bytes);
        }
        let length = self.vector.len();
        self.vector.copy_from_slice(&area[..length]);
    }

    fn reset_extended(&mut self, _xfrm: u64, control: Control) {
        self.vector.fill(0);
        self.control = Some(control);
    }
}
