//! Pages go out and come back: EWB, ELDB, ELDU, ELDBC, ELDUC.

use adyton_sgx::epcm::PageType;
use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::structures::Pcmd;
use adyton_sgx::{Access, EpcPage, ErrorCode};

use crate::build::{NOWHERE, absent};
use crate::support::enclave::{
    AEP, BASE, DATA, Enclave, MORE, OK_SILENT, PLAIN, RW, SSA, TCS, secs,
};
use crate::support::machine::PAGE;
use crate::support::world::{Answer, GP, OK, World, code, epc, epcm_fault, remark};

/// Memory of a page that was written out.
#[derive(Clone, Copy)]
pub struct Out {
    pub info: u64,
    pub source: u64,
    pub pcmd: u64,
}

impl World {
    /// EPA.
    pub fn versions(&mut self) -> EpcPage {
        let page = self.free_page();
        let operands = [PageType::Va as u64, epc(page), 0];
        assert_eq!(self.silent(Encls::Epa, operands), OK_SILENT);
        page
    }

    /// Memory for EWB.
    pub fn room(&mut self) -> Out {
        let source = self.memory(1);
        let pcmd = self.memory(1);
        let info = self.page_info(0, source, pcmd, 0);
        Out { info, source, pcmd }
    }

    /// EBLOCK and ETRACK.
    pub fn block(&mut self, enclave: &Enclave, page: EpcPage) {
        assert_eq!(self.encls(Encls::Eblock, [0, epc(page), 0]), OK);
        assert_eq!(self.encls(Encls::Etrack, [0, epc(enclave.secs), 0]), OK);
    }

    /// EWB of a page that is ready for it.
    pub fn write_out(&mut self, page: EpcPage, slot: u64) -> Out {
        let out = self.room();
        assert_eq!(self.encls(Encls::Ewb, [out.info, epc(page), slot]), OK);
        out
    }

    /// PAGEINFO leads to the room again, whoever wrote there.
    pub fn tidy(&mut self, out: Out) {
        let fields = [out.source, out.pcmd].map(u64::to_le_bytes);
        self.put(out.info + 8, fields.as_flattened());
    }

    /// Operands that bring a page back.
    pub fn back(&mut self, out: Out, page: EpcPage, secs: u64, slot: u64) -> [u64; 3] {
        self.tidy(out);
        self.put(out.info + 24, &secs.to_le_bytes());
        [out.info, epc(page), slot]
    }
}

#[test]
fn a_page_goes_out_unreadable_and_comes_back_as_it_was() {
    let mut world = World::new();
    let mut enclave = world.enclave(PLAIN);
    let contents: Vec<u8> = (0..PAGE).map(|byte| (byte * 7) as u8).collect();
    world.put_inside(&enclave, DATA, &contents);
    let slot = epc(world.versions()) + 16;
    let page = enclave.page(DATA);
    let before = world.entry(page).attributes();
    world.block(&enclave, page);
    let out = world.write_out(page, slot);
    assert!(world.slices > 1, "EWB is cut into slices");
    assert!(!world.entry(page).attributes().valid);
    assert_eq!(world.entry(enclave.secs).children(), 5);
    let outside = world.get(out.source, PAGE as usize);
    assert!(
        outside
            .windows(16)
            .all(|window| !contents.windows(16).any(|inside| inside == window))
    );
    let mut pcmd = Pcmd::zeroed();
    pcmd.0.copy_from_slice(&world.get(out.pcmd, 128));
    assert_eq!(pcmd.secinfo()[..2], [RW as u8, PageType::Reg as u8]);
    assert_eq!(world.get(out.info, 8), (BASE + DATA).to_le_bytes());

    let elsewhere = EpcPage(40);
    let operands = world.back(out, elsewhere, epc(enclave.secs), slot);
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
    assert!(world.slices > 1, "ELDU is cut into slices");
    assert_eq!(world.entry(elsewhere).attributes(), before);
    assert_eq!(world.entry(elsewhere).address(), BASE + DATA);
    enclave.pages.retain(|(offset, _)| *offset != DATA);
    enclave.pages.push((DATA, elsewhere));
    assert_eq!(world.inside(&enclave, DATA, PAGE as usize), contents);
    assert_eq!(world.entry(enclave.secs).children(), 6);
}

#[test]
fn an_enclave_goes_out_whole_and_comes_back_to_run() {
    let mut world = World::new();
    let mut enclave = world.enclave(PLAIN);
    let versions = world.versions();
    let upper = world.versions();
    let mut slots = (0..).map(|slot| epc(versions) + slot * 8);
    let mut outs = Vec::new();
    for (offset, page) in enclave.pages.clone() {
        let slot = slots.next().expect("slots");
        world.block(&enclave, page);
        outs.push((offset, slot, world.write_out(page, slot)));
    }
    let slot = slots.next().expect("slots");
    let secs = world.write_out(enclave.secs, slot);
    assert!(!world.entry(enclave.secs).attributes().valid);
    // The version array itself goes out, too.
    let array = world.write_out(versions, epc(upper));
    let free = EpcPage(40);
    let operands = world.back(array, free, 0, epc(upper));
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
    let moved = |slot: u64| slot - epc(versions) + epc(free);
    let operands = world.back(secs, EpcPage(50), 0, moved(slot));
    assert_eq!(world.encls(Encls::Eldbc, operands), OK);
    enclave.secs = EpcPage(50);
    assert!(!world.entry(enclave.secs).attributes().blocked);
    enclave.pages.clear();
    for ((offset, slot, out), number) in outs.into_iter().zip(20..) {
        let operands = world.back(out, EpcPage(number), epc(enclave.secs), moved(slot));
        assert_eq!(world.encls(Encls::Elduc, operands), OK);
        enclave.pages.push((offset, EpcPage(number)));
        world.map(
            BASE + offset,
            crate::support::machine::Target::Epc(EpcPage(number)),
        );
    }
    world.enter(&enclave);
    world.leave();
}

#[test]
fn nothing_but_the_last_page_with_its_version_comes_back() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let stranger = world.enclave(PLAIN);
    let versions = world.versions();
    let [slot, other_slot] = [epc(versions), epc(versions) + 8];
    let page = enclave.page(DATA);
    let secs = epc(enclave.secs);
    world.block(&enclave, page);
    let first = world.write_out(page, slot);
    let keep = [
        world.get(first.source, PAGE as usize),
        world.get(first.pcmd, 128),
    ];
    let failed = code(ErrorCode::MacCompareFail);

    // Any byte changed: the page, PCMD, the address.
    for byte in (0..PAGE).step_by(97).chain([PAGE - 1]) {
        world.put(first.source + byte, &[keep[0][byte as usize] ^ 1]);
        let operands = world.back(first, page, secs, slot);
        world.refuses(Encls::Eldu, operands, failed);
        world.put(first.source + byte, &[keep[0][byte as usize]]);
    }
    for byte in (0..64).chain(72..128) {
        world.put(first.pcmd + byte as u64, &[keep[1][byte] ^ 1]);
        let operands = world.back(first, page, secs, slot);
        let answer = world.encls(Encls::Eldu, operands);
        // Another page type may want no SECS.
        let expected = answer == failed || byte == 1 && answer == GP;
        assert!(expected, "byte {byte}: {answer:?}");
        world.put(first.pcmd + byte as u64, &[keep[1][byte]]);
    }
    let wrong_address = (BASE + MORE).to_le_bytes();
    world.put(first.info, &wrong_address);
    let operands = world.back(first, page, secs, slot);
    world.refuses(Encls::Eldu, operands, failed);
    world.put(first.info, &(BASE + DATA).to_le_bytes());

    // Another enclave, another slot, an empty slot.
    let operands = world.back(first, page, epc(stranger.secs), slot);
    world.refuses(Encls::Eldu, operands, failed);
    let operands = world.back(first, page, secs, other_slot);
    world.refuses(Encls::Eldu, operands, failed);

    // ENCLAVEID is a hint for software.
    world.put(first.pcmd + 64, &[0xFF]);
    // The page of before, after it went out again.
    let operands = world.back(first, page, secs, slot);
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
    let old = [
        world.get(first.source, PAGE as usize),
        world.get(first.pcmd, 128),
    ];
    world.put_inside(&enclave, DATA, b"newer");
    world.block(&enclave, page);
    let second = world.write_out(page, slot);
    let room = world.room();
    world.put(room.source, &old[0]);
    world.put(room.pcmd, &old[1]);
    world.put(room.info, &(BASE + DATA).to_le_bytes());
    let operands = world.back(room, page, secs, slot);
    world.refuses(Encls::Eldu, operands, failed);
    let operands = world.back(second, page, secs, slot);
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
    assert_eq!(world.inside(&enclave, DATA, 5), b"newer");
    // A version is good for one time.
    let free = world.free_page();
    let operands = world.back(second, free, secs, slot);
    world.refuses(Encls::Eldu, operands, failed);
}

#[test]
fn a_page_of_another_boot_does_not_come_back() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let slot = epc(world.versions());
    world.block(&enclave, enclave.page(DATA));
    let out = world.write_out(enclave.page(DATA), slot);
    let mut later = World::with(64, 8, crate::support::world::capabilities());
    let twin = later.enclave(PLAIN);
    let later_slot = epc(later.versions());
    assert_eq!(slot, later_slot);
    let kept = [
        world.get(out.source, PAGE as usize),
        world.get(out.pcmd, 128),
    ];
    later.block(&twin, twin.page(DATA));
    let page = twin.page(DATA);
    let other = later.write_out(page, later_slot);
    later.put(other.source, &kept[0]);
    later.put(other.pcmd, &kept[1]);
    let operands = later.back(other, page, epc(twin.secs), later_slot);
    later.refuses(Encls::Eldu, operands, code(ErrorCode::MacCompareFail));
}

#[test]
fn ewb_waits_until_nobody_uses_the_page() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let slot = epc(world.versions());
    let page = enclave.page(DATA);
    let out = world.room();
    let operands = [out.info, epc(page), slot];
    world.refuses(Encls::Ewb, operands, code(ErrorCode::PageNotBlocked));
    world.enter(&enclave);
    assert_eq!(world.encls(Encls::Eblock, [0, epc(page), 0]), OK);
    world.refuses(Encls::Ewb, operands, code(ErrorCode::NotTracked));
    assert_eq!(world.encls(Encls::Etrack, [0, epc(enclave.secs), 0]), OK);
    // Who was inside when the page was blocked is inside still.
    world.refuses(Encls::Ewb, operands, code(ErrorCode::NotTracked));
    world.leave();
    world.enter(&enclave);
    assert_eq!(world.encls(Encls::Ewb, operands), OK);
    world.leave();
    // A SECS goes last.
    world.refuses(Encls::Ewb, [out.info, epc(enclave.secs), slot + 8], GP);
    let out = world.room();
    world.refuses(
        Encls::Ewb,
        [out.info, epc(enclave.secs), slot + 8],
        code(ErrorCode::ChildPresent),
    );
}

#[test]
fn ewb_checks_its_operands() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let versions = world.versions();
    let slot = epc(versions);
    let page = enclave.page(DATA);
    world.block(&enclave, page);
    let out = world.room();
    let target = epc(page);
    let (memory, free) = (world.memory(1), epc(world.free_page()));
    let more = epc(enclave.page(MORE));
    for (operands, answer) in [
        ([out.info + 8, target, slot], GP),
        ([out.info, target + 8, slot], GP),
        ([out.info, target, slot + 4], GP),
        ([out.info, memory, slot], epcm_fault(memory, false)),
        ([out.info, target, memory], epcm_fault(memory, false)),
        ([out.info, target, target + 8], GP),
        ([out.info, free, slot], epcm_fault(free, false)),
        ([out.info, target, free], epcm_fault(free, false)),
        ([out.info, target, more], epcm_fault(more, false)),
        (
            [NOWHERE, target, slot],
            absent(NOWHERE, Access::Read, false),
        ),
    ] {
        world.refuses(Encls::Ewb, operands, answer);
    }
    for (fields, answer) in [
        ([PAGE, out.source, out.pcmd, 0], GP),
        ([0, out.source, out.pcmd, epc(enclave.secs)], GP),
        ([0, out.source + 8, out.pcmd, 0], GP),
        ([0, out.source, out.pcmd + 64, 0], GP),
        (
            [0, NOWHERE, out.pcmd, 0],
            absent(NOWHERE, Access::Write, false),
        ),
        (
            [0, out.source, NOWHERE, 0],
            absent(NOWHERE, Access::Write, false),
        ),
    ] {
        let [linaddr, srcpge, pcmd, secs] = fields;
        let info = world.page_info(linaddr, srcpge, pcmd, secs);
        world.refuses(Encls::Ewb, [info, target, slot], answer);
    }
    let operands = [out.info, target, slot];
    for held in [page, versions] {
        let claim = world.entry(held).claim();
        assert_eq!(world.encls(Encls::Ewb, operands), GP);
        drop(claim);
    }
    assert_eq!(world.encls(Encls::Ewb, operands), OK);
    // An occupied slot is overwritten, with a remark.
    let page = enclave.page(MORE);
    world.block(&enclave, page);
    let other = world.room();
    let answer = world.encls(Encls::Ewb, [other.info, epc(page), slot]);
    assert_eq!(answer, remark(ErrorCode::VaSlotOccupied));
    let operands = world.back(out, page, epc(enclave.secs), slot);
    world.refuses(Encls::Eldu, operands, code(ErrorCode::MacCompareFail));
    let operands = world.back(other, page, epc(enclave.secs), slot);
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
}

#[test]
fn eld_checks_its_operands() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let versions = world.versions();
    let slot = epc(versions);
    let page = enclave.page(DATA);
    world.block(&enclave, page);
    let out = world.write_out(page, slot);
    let secs = epc(enclave.secs);
    let [info, target, _] = world.back(out, page, secs, slot);
    let memory = world.memory(1);
    let more = epc(enclave.page(MORE));
    for (operands, answer) in [
        ([info + 8, target, slot], GP),
        ([info, target + 8, slot], GP),
        ([info, target, slot + 4], GP),
        ([info, memory, slot], epcm_fault(memory, false)),
        ([info, more, slot], epcm_fault(more, false)),
        ([info, target, memory], epcm_fault(memory, false)),
        ([info, target, more], epcm_fault(more, false)),
    ] {
        world.refuses(Encls::Eldu, operands, answer);
    }
    let address = BASE + DATA;
    for (fields, answer) in [
        ([address, out.source + 8, out.pcmd, secs], GP),
        ([address, out.source, out.pcmd + 64, secs], GP),
        ([address, out.source, out.pcmd, secs + 8], GP),
        (
            [address, out.source, out.pcmd, memory],
            epcm_fault(memory, false),
        ),
        // A page with bytes of its owner's choice is no SECS.
        (
            [address, out.source, out.pcmd, more],
            epcm_fault(more, false),
        ),
        (
            [address, NOWHERE, out.pcmd, secs],
            absent(NOWHERE, Access::Read, false),
        ),
        (
            [address, out.source, NOWHERE, secs],
            absent(NOWHERE, Access::Read, false),
        ),
    ] {
        let [linaddr, srcpge, pcmd, secs] = fields;
        let info = world.page_info(linaddr, srcpge, pcmd, secs);
        world.refuses(Encls::Eldu, [info, target, slot], answer);
    }
    let operands = [info, target, slot];
    for held in [page, versions, enclave.secs] {
        let claim = world.entry(held).claim();
        assert!(claim.is_some());
        assert_eq!(world.encls(Encls::Eldu, operands), GP);
        assert_eq!(world.encls(Encls::Eldb, operands), GP);
        let conflict = code(ErrorCode::EpcPageConflict);
        assert_eq!(world.encls(Encls::Elduc, operands), conflict);
        assert_eq!(world.encls(Encls::Eldbc, operands), conflict);
    }
    assert_eq!(world.encls(Encls::Eldb, operands), OK);
    assert!(world.entry(page).attributes().blocked);
    // A SECS or a version array comes back without a SECS.
    let array = world.versions();
    let array = world.write_out(array, slot + 8);
    let free = world.free_page();
    let operands = world.back(array, free, secs, slot + 8);
    world.refuses(Encls::Eldu, operands, GP);
    let operands = world.back(array, free, 0, slot + 8);
    assert_eq!(world.encls(Encls::Eldb, operands), OK);
    assert!(!world.entry(free).attributes().blocked);
}

#[test]
fn pages_that_a_thread_needs_stay_until_it_has_left() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let slot = epc(world.versions());
    world.enter(&enclave);
    for offset in [TCS, SSA] {
        let page = enclave.page(offset);
        let out = world.room();
        assert_eq!(world.encls(Encls::Eblock, [0, epc(page), 0]), OK);
        let _ = world.encls(Encls::Etrack, [0, epc(enclave.secs), 0]);
        world.refuses(
            Encls::Ewb,
            [out.info, epc(page), slot],
            code(ErrorCode::NotTracked),
        );
    }
    world.leave();
    // Blocked pages let nobody in.
    let answer = world.enclu(Enclu::Eenter, [BASE + TCS, AEP, 0]);
    assert_eq!(answer, epcm_fault(BASE + TCS, true));
    let page = enclave.page(TCS);
    let out = world.room();
    assert_eq!(world.encls(Encls::Ewb, [out.info, epc(page), slot]), OK);
}

#[test]
fn a_secs_without_children_goes_out_and_comes_back() {
    let mut world = World::new();
    let enclave = world.create(&secs(PLAIN));
    let slot = epc(world.versions());
    let out = world.write_out(enclave.secs, slot);
    let free = EpcPage(30);
    let operands = world.back(out, free, 0, slot);
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
    let mut moved = enclave.clone();
    moved.secs = free;
    world.furnish(&mut moved);
    let signer = crate::support::signer::Signer::first();
    world.machine.launch_key_hash = signer.identity();
    let mut signature = moved.unsigned();
    signer.sign(&mut signature);
    assert_eq!(
        world.init(&moved, &signature),
        OK,
        "the measurement went on where it was"
    );
    assert!(matches!(
        world.encls(Encls::Eremove, [0, epc(free), 0]),
        Answer::Code(13, true, false)
    ));
}
