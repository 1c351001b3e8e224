//! Enclaves as tests build them.

use adyton_sgx::EpcPage;
use adyton_sgx::epcm::PageType;
use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::{Secs, Sigstruct, Tcs, secinfo_flags};
use sha2::{Digest, Sha256};

use super::machine::{Bytes, PAGE, Target};
use super::signer::Signer;
use super::world::{Answer, OK, World, epc};

/// Where enclaves lie.
pub const BASE: u64 = 0x7000_0000_0000;
pub const SIZE: u64 = 0x1_0000;

/// Offsets of the pages that [`World::enclave`] makes.
pub const TCS: u64 = 0;
pub const DATA: u64 = 0x1000;
/// Two frames of a page each.
pub const SSA: u64 = 0x2000;
pub const CODE: u64 = 0x4000;
pub const MORE: u64 = 0x5000;
/// Where nothing is.
pub const HOLE: u64 = 0x8000;

/// Attributes of an enclave that is nothing special.
pub const PLAIN: u64 = attribute::MODE64BIT;

pub const RW: u64 = secinfo_flags::R | secinfo_flags::W;
pub const RX: u64 = secinfo_flags::R | secinfo_flags::X;

/// SECINFO.FLAGS of a page with this type and these rights.
pub const fn flags(kind: PageType, rights: u64) -> u64 {
    (kind as u64) << secinfo_flags::TYPE_SHIFT | rights
}

/// An enclave on its way, and what its measurement should be.
#[derive(Clone)]
pub struct Enclave {
    pub secs: EpcPage,
    pub base: u64,
    pub size: u64,
    pub pages: Vec<(u64, EpcPage)>,
    hash: Sha256,
}

impl Enclave {
    /// The EPC page at an offset.
    pub fn page(&self, offset: u64) -> EpcPage {
        let found = self.pages.iter().find(|(at, _)| *at == offset);
        found.expect("a page there").1
    }

    /// MRENCLAVE, if the enclave is initialized now.
    pub fn measurement(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// A SIGSTRUCT for it, not signed.
    pub fn unsigned(&self) -> Sigstruct {
        let mut signature = Sigstruct::zeroed();
        signature.set_enclavehash(&self.measurement());
        signature
    }
}

/// SECS as software fills it in.
pub fn secs(attributes: u64) -> Secs {
    let mut secs = Secs::zeroed();
    secs.set_size(SIZE);
    secs.set_baseaddr(BASE);
    secs.set_ssaframesize(1);
    secs.set_miscselect(1);
    secs.set_attributes(attributes);
    secs.set_xfrm(7);
    secs
}

/// A TCS of two frames.
pub fn tcs() -> Tcs {
    let mut tcs = Tcs::zeroed();
    tcs.set_ossa(SSA);
    tcs.set_nssa(2);
    tcs.set_oentry(CODE + 0x10);
    tcs.set_ofsbase(DATA);
    tcs.set_ogsbase(MORE);
    tcs.set_fslimit(0xFFF);
    tcs.set_gslimit(0xFFF);
    tcs
}

impl World {
    /// ECREATE.
    pub fn create(&mut self, secs: &Secs) -> Enclave {
        let page = self.free_page();
        assert_eq!(self.try_create(secs, page).0, OK_SILENT);
        let mut hash = Sha256::new();
        hash.update(b"ECREATE\0");
        hash.update(secs.ssaframesize().to_le_bytes());
        hash.update(secs.size().to_le_bytes());
        hash.update([0; 44]);
        Enclave {
            secs: page,
            base: secs.baseaddr(),
            size: secs.size(),
            pages: Vec::new(),
            hash,
        }
    }

    /// ECREATE with these contents; the operands that it had.
    pub fn try_create(&mut self, secs: &Secs, page: EpcPage) -> (Answer, [u64; 3]) {
        let source = self.holding(&secs.0);
        let secinfo = self.secinfo(flags(PageType::Secs, 0));
        let info = self.page_info(0, source, secinfo, 0);
        let operands = [info, epc(page), 0];
        (self.silent(Encls::Ecreate, operands), operands)
    }

    /// A leaf that says nothing of success, which is [`OK_SILENT`].
    pub fn silent(&mut self, leaf: Encls, operands: [u64; 3]) -> Answer {
        let flags = self.processor.flags;
        let answer = self.encls(leaf, operands);
        if let Answer::Code(..) = answer {
            assert_eq!(
                self.processor.flags, flags,
                "{leaf:?} leaves the flags alone"
            );
            let eax = self.processor.general[0] as u32;
            assert_eq!(eax, leaf as u32, "{leaf:?} leaves RAX alone");
            return OK_SILENT;
        }
        answer
    }

    /// EADD of a page and EEXTEND of all of it, mapped for the application.
    pub fn add(
        &mut self,
        enclave: &mut Enclave,
        offset: u64,
        flags: u64,
        contents: &Bytes,
    ) -> EpcPage {
        let page = self.free_page();
        let operands = self.add_operands(enclave, offset, flags, contents, page);
        assert_eq!(self.silent(Encls::Eadd, operands), OK_SILENT);
        enclave.pages.push((offset, page));
        enclave.hash.update(b"EADD\0\0\0\0");
        enclave.hash.update(offset.to_le_bytes());
        enclave.hash.update(flags.to_le_bytes());
        enclave.hash.update([0; 40]);
        for chunk in (0..PAGE).step_by(256) {
            let operands = [epc(enclave.secs), epc(page) + chunk, 0];
            assert_eq!(self.silent(Encls::Eextend, operands), OK_SILENT);
            enclave.hash.update(b"EEXTEND\0");
            enclave.hash.update((offset + chunk).to_le_bytes());
            enclave.hash.update([0; 48]);
            let start = chunk as usize;
            enclave.hash.update(&contents[start..start + 256]);
        }
        self.map(enclave.base + offset, Target::Epc(page));
        page
    }

    /// Operands of EADD.
    pub fn add_operands(
        &mut self,
        enclave: &Enclave,
        offset: u64,
        flags: u64,
        contents: &Bytes,
        page: EpcPage,
    ) -> [u64; 3] {
        let source = self.holding(contents);
        let secinfo = self.secinfo(flags);
        let info = self.page_info(enclave.base + offset, source, secinfo, epc(enclave.secs));
        [info, epc(page), 0]
    }

    /// The pages that every enclave here has, not initialized.
    pub fn furnish(&mut self, enclave: &mut Enclave) {
        let mut contents = [0; PAGE as usize];
        contents[..Tcs::SIZE].copy_from_slice(&tcs().0);
        self.add(enclave, TCS, flags(PageType::Tcs, 0), &contents);
        let kinds = [
            (DATA, RW),
            (SSA, RW),
            (SSA + PAGE, RW),
            (CODE, RX),
            (MORE, RW),
        ];
        for (offset, rights) in kinds {
            let contents = [offset as u8 >> 4 | 1; PAGE as usize];
            let contents = if rights == RW {
                [0; PAGE as usize]
            } else {
                contents
            };
            self.add(enclave, offset, flags(PageType::Reg, rights), &contents);
        }
    }

    /// An enclave with these attributes, signed by the first signer, initialized.
    pub fn enclave(&mut self, attributes: u64) -> Enclave {
        self.enclave_of(&secs(attributes), |_| {})
    }

    /// An initialized enclave with this SECS and what is said of it in its SIGSTRUCT.
    pub fn enclave_of(&mut self, secs: &Secs, describe: impl FnOnce(&mut Sigstruct)) -> Enclave {
        let mut enclave = self.create(secs);
        self.furnish(&mut enclave);
        let signer = Signer::first();
        self.machine.launch_key_hash = signer.identity();
        let mut signature = enclave.unsigned();
        describe(&mut signature);
        signer.sign(&mut signature);
        assert_eq!(self.init(&enclave, &signature), OK);
        enclave
    }

    /// EINIT without a token.
    pub fn init(&mut self, enclave: &Enclave, signature: &Sigstruct) -> Answer {
        let signature = self.holding(&signature.0);
        let token = self.memory(1);
        self.encls(Encls::Einit, [signature, epc(enclave.secs), token])
    }

    /// EENTER by the enclave's TCS.
    pub fn enter(&mut self, enclave: &Enclave) {
        let answer = self.enclu(Enclu::Eenter, [enclave.base + TCS, AEP, 0]);
        assert_eq!(answer, Answer::Entered);
    }

    /// EEXIT.
    pub fn leave(&mut self) {
        assert_eq!(self.enclu(Enclu::Eexit, [OUTSIDE, 0, 0]), Answer::Left);
    }

    /// Bytes of the enclave, as the processor sees them.
    pub fn inside(&self, enclave: &Enclave, offset: u64, length: usize) -> &[u8] {
        let page = enclave.page(offset & !(PAGE - 1));
        let start = (offset % PAGE) as usize;
        &self.machine.epc[page.0 as usize][start..start + length]
    }

    /// Writes as code in the enclave would.
    pub fn put_inside(&mut self, enclave: &Enclave, offset: u64, bytes: &[u8]) {
        let page = enclave.page(offset & !(PAGE - 1));
        let start = (offset % PAGE) as usize;
        self.machine.epc[page.0 as usize][start..start + bytes.len()].copy_from_slice(bytes);
    }
}

/// Success of a leaf that does not say so.
pub const OK_SILENT: Answer = Answer::Code(u64::MAX, false, false);
/// Asynchronous exit pointer.
pub const AEP: u64 = 0x40_2000;
/// Where EEXIT goes.
pub const OUTSIDE: u64 = 0x40_3000;
