//! Pages of running enclaves: EAUG, EMODPR, EMODT.

use adyton_sgx::epcm::{PageType, Part};
use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::structures::{Secinfo, secinfo_flags};
use adyton_sgx::{Access, EpcPage, ErrorCode};

use crate::build::{NOWHERE, absent};
use crate::support::enclave::{
    BASE, DATA, Enclave, HOLE, MORE, OK_SILENT, PLAIN, RW, SIZE, TCS, flags, secs, tcs,
};
use crate::support::machine::{PAGE, Target};
use crate::support::world::{Answer, GP, OK, World, code, epc, epcm_fault};

pub const R: u64 = secinfo_flags::R;
pub const W: u64 = secinfo_flags::W;
pub const X: u64 = secinfo_flags::X;
pub const PENDING: u64 = secinfo_flags::PENDING;
pub const MODIFIED: u64 = secinfo_flags::MODIFIED;
pub const PR: u64 = secinfo_flags::PR;

/// Where enclaves here write their SECINFO.
pub const INFO: u64 = MORE + 0x40;

impl World {
    /// EAUG, mapped for the application.
    pub fn augment(&mut self, enclave: &mut Enclave, offset: u64) -> EpcPage {
        let page = self.free_page();
        let info = self.page_info(enclave.base + offset, 0, 0, epc(enclave.secs));
        assert_eq!(self.silent(Encls::Eaug, [info, epc(page), 0]), OK_SILENT);
        enclave.pages.push((offset, page));
        self.map(enclave.base + offset, Target::Epc(page));
        page
    }

    /// SECINFO in the enclave.
    pub fn say(&mut self, enclave: &Enclave, flags: u64) -> u64 {
        let mut secinfo = Secinfo::zeroed();
        secinfo.set_flags(flags);
        self.put_inside(enclave, INFO, &secinfo.0);
        enclave.base + INFO
    }

    /// EACCEPT by a thread inside.
    pub fn accept(&mut self, enclave: &Enclave, offset: u64, flags: u64) -> Answer {
        let secinfo = self.say(enclave, flags);
        self.enclu(Enclu::Eaccept, [secinfo, enclave.base + offset, 0])
    }

    /// EMODPR or EMODT.
    pub fn change(&mut self, leaf: Encls, page: EpcPage, flags: u64) -> Answer {
        let secinfo = self.secinfo(flags);
        self.encls(leaf, [secinfo, epc(page), 0])
    }

    /// ETRACK.
    pub fn track(&mut self, enclave: &Enclave) -> Answer {
        self.encls(Encls::Etrack, [0, epc(enclave.secs), 0])
    }
}

#[test]
fn an_enclave_grows_by_what_it_accepts() {
    let mut world = World::new();
    let mut enclave = world.enclave(PLAIN);
    let page = world.augment(&mut enclave, HOLE);
    let attributes = world.entry(page).attributes();
    assert!(attributes.pending && attributes.read && attributes.write && !attributes.execute);
    assert!(
        world
            .entry(page)
            .access(enclave.secs, BASE + HOLE)
            .is_none()
    );
    world.enter(&enclave);
    let mismatch = code(ErrorCode::PageAttributesMismatch);
    for wrong in [R | PENDING, RW | X | PENDING] {
        let wrong = flags(PageType::Reg, wrong);
        assert_eq!(world.accept(&enclave, HOLE, wrong), mismatch);
    }
    let request = flags(PageType::Reg, RW | PENDING);
    assert_eq!(world.accept(&enclave, HOLE, request), OK);
    assert!(
        world
            .entry(page)
            .access(enclave.secs, BASE + HOLE)
            .is_some()
    );
    // Not twice.
    assert_eq!(world.accept(&enclave, HOLE, request), mismatch);
}

#[test]
fn eaug_checks_its_operands() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let raw = world.create(&secs(PLAIN));
    let page = world.free_page();
    let (target, owner, memory) = (epc(page), epc(enclave.secs), world.memory(1));
    let info = world.page_info(BASE + HOLE, 0, 0, owner);
    let free = epc(EpcPage(60));
    for (operands, answer) in [
        ([info + 8, target, 0], GP),
        ([info, target + 8, 0], GP),
        ([info, memory, 0], epcm_fault(memory, false)),
        ([NOWHERE, target, 0], absent(NOWHERE, Access::Read, false)),
    ] {
        world.refuses(Encls::Eaug, operands, answer);
    }
    let secinfo = world.secinfo(flags(PageType::Reg, RW));
    for (fields, answer) in [
        ([BASE + HOLE + 8, 0, 0, owner], GP),
        ([BASE + HOLE, memory, 0, owner], GP),
        ([BASE + HOLE, 0, secinfo + 8, owner], GP),
        ([BASE + HOLE, 0, secinfo, owner], GP),
        ([BASE + HOLE, 0, 0, owner + 8], GP),
        ([BASE + HOLE, 0, 0, memory], epcm_fault(memory, false)),
        ([BASE + HOLE, 0, 0, free], epcm_fault(free, false)),
        ([BASE + HOLE, 0, 0, epc(raw.secs)], GP),
        ([BASE + SIZE, 0, 0, owner], GP),
        ([BASE - PAGE, 0, 0, owner], GP),
    ] {
        let [linaddr, srcpge, secinfo, secs] = fields;
        let info = world.page_info(linaddr, srcpge, secinfo, secs);
        world.refuses(Encls::Eaug, [info, target, 0], answer);
    }
    for held in [page, enclave.secs] {
        let claim = world.entry(held).claim();
        assert_eq!(world.encls(Encls::Eaug, [info, target, 0]), GP);
        drop(claim);
    }
    assert_eq!(world.silent(Encls::Eaug, [info, target, 0]), OK_SILENT);
    world.refuses(Encls::Eaug, [info, target, 0], epcm_fault(target, false));
}

#[test]
fn rights_are_restricted_with_consent_and_tracking() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let page = enclave.page(DATA);
    world.enter(&enclave);
    assert_eq!(world.change(Encls::Emodpr, page, R), OK);
    assert_eq!(world.machine.forgotten, [page]);
    let attributes = world.entry(page).attributes();
    assert!(attributes.restricted && attributes.read && !attributes.write);
    let request = flags(PageType::Reg, R | PR);
    let untracked = code(ErrorCode::NotTracked);
    assert_eq!(world.accept(&enclave, DATA, request), untracked);
    assert_eq!(world.track(&enclave), OK);
    assert_eq!(
        world.accept(&enclave, DATA, request),
        untracked,
        "it is inside itself"
    );
    world.leave();
    world.enter(&enclave);
    assert_eq!(world.accept(&enclave, DATA, request), OK);
    assert!(!world.entry(page).attributes().restricted);

    // Back again, by the enclave alone.
    let secinfo = world.say(&enclave, flags(PageType::Reg, RW));
    let before = world.processor.flags;
    world.enclu(Enclu::Emodpe, [secinfo, BASE + DATA, 0]);
    assert_eq!(world.processor.flags, before);
    assert!(world.entry(page).attributes().write);
}

#[test]
fn emodpr_and_emodt_check_their_operands() {
    let mut world = World::new();
    let mut enclave = world.enclave(PLAIN);
    let mut raw = world.create(&secs(PLAIN));
    world.furnish(&mut raw);
    let page = enclave.page(DATA);
    let pending = epc(world.augment(&mut enclave, HOLE));
    let (target, memory, free) = (epc(page), world.memory(1), epc(EpcPage(60)));
    let owner = epc(enclave.secs);
    let versions = epc(world.versions());
    let thread = epc(enclave.page(TCS));
    let good = [
        world.secinfo(flags(PageType::Reg, R)),
        world.secinfo(flags(PageType::Trim, 0)),
    ];
    let reserved = world.secinfo(flags(PageType::Trim, 0) | 1 << 6);
    for (leaf, secinfo) in [Encls::Emodpr, Encls::Emodt].into_iter().zip(good) {
        for (operands, answer) in [
            ([secinfo + 8, target, 0], GP),
            ([reserved, target, 0], GP),
            ([secinfo, target + 8, 0], GP),
            ([NOWHERE, target, 0], absent(NOWHERE, Access::Read, false)),
            ([secinfo, memory, 0], epcm_fault(memory, false)),
            ([secinfo, free, 0], epcm_fault(free, false)),
            ([secinfo, owner, 0], epcm_fault(owner, false)),
            ([secinfo, versions, 0], epcm_fault(versions, false)),
            ([secinfo, pending, 0], code(ErrorCode::PageNotModifiable)),
            ([secinfo, epc(raw.page(DATA)), 0], GP),
        ] {
            world.refuses(leaf, operands, answer);
        }
    }
    let writable = world.secinfo(flags(PageType::Reg, W));
    world.refuses(Encls::Emodpr, [writable, target, 0], GP);
    world.refuses(
        Encls::Emodpr,
        [good[0], thread, 0],
        epcm_fault(thread, false),
    );
    for kind in [PageType::Secs, PageType::Reg, PageType::Va] {
        let secinfo = world.secinfo(flags(kind, 0));
        world.refuses(Encls::Emodt, [secinfo, target, 0], GP);
    }
    let to_thread = world.secinfo(flags(PageType::Tcs, 0));
    world.refuses(
        Encls::Emodt,
        [to_thread, thread, 0],
        epcm_fault(thread, false),
    );

    let entry = world.entry(page);
    let conflict = code(ErrorCode::EpcPageConflict);
    let claim = entry.claim();
    assert_eq!(world.encls(Encls::Emodpr, [good[0], target, 0]), GP);
    assert_eq!(world.encls(Encls::Emodt, [good[1], target, 0]), conflict);
    drop(claim);
    let part = entry.part(Part::Modification);
    assert_eq!(world.encls(Encls::Emodpr, [good[0], target, 0]), conflict);
    assert_eq!(world.encls(Encls::Emodt, [good[1], target, 0]), conflict);
    drop(part);
    assert_eq!(world.encls(Encls::Emodt, [good[1], target, 0]), OK);
    world.refuses(
        Encls::Emodt,
        [good[1], target, 0],
        epcm_fault(target, false),
    );
    let changed = [good[0], thread, 0];
    assert_eq!(world.encls(Encls::Emodt, [good[1], thread, 0]), OK);
    world.refuses(Encls::Emodpr, changed, code(ErrorCode::PageNotModifiable));
}

#[test]
fn a_page_becomes_a_thread_only_if_it_is_in_order() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let page = enclave.page(DATA);
    world.put_inside(&enclave, DATA, &tcs().0);
    assert_eq!(
        world.change(Encls::Emodt, page, flags(PageType::Tcs, 0)),
        OK
    );
    assert_eq!(world.track(&enclave), OK);
    world.enter(&enclave);
    let request = flags(PageType::Tcs, MODIFIED);
    let changes: [(u64, u8); 6] = [(8, 1), (24, 2), (40, 1), (0, 1), (72, 1), (4095, 1)];
    for (offset, byte) in changes {
        let before = world.inside(&enclave, DATA + offset, 1)[0];
        world.put_inside(&enclave, DATA + offset, &[byte]);
        assert_eq!(world.accept(&enclave, DATA, request), GP, "offset {offset}");
        world.put_inside(&enclave, DATA + offset, &[before]);
    }
    assert_eq!(world.accept(&enclave, DATA, request), OK);
    world.leave();
    assert_eq!(
        world.enclu(Enclu::Eenter, [BASE + DATA, 0x40_2000, 0]),
        Answer::Entered
    );
}

#[test]
fn a_page_is_trimmed_and_removed_while_the_enclave_runs() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let page = enclave.page(DATA);
    assert_eq!(
        world.change(Encls::Emodt, page, flags(PageType::Trim, 0)),
        OK
    );
    assert_eq!(world.track(&enclave), OK);
    world.enter(&enclave);
    world.refuses(
        Encls::Eremove,
        [0, epc(page), 0],
        code(ErrorCode::EnclaveAct),
    );
    assert_eq!(
        world.accept(&enclave, DATA, flags(PageType::Trim, MODIFIED)),
        OK
    );
    assert_eq!(world.encls(Encls::Eremove, [0, epc(page), 0]), OK);
    assert!(!world.entry(page).attributes().valid);
    assert_eq!(world.entry(enclave.secs).children(), 5);
}
