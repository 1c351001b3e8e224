//! What an enclave says to changes of its pages: EACCEPT, EACCEPTCOPY, EMODPE.

use adyton_sgx::epcm::{PageType, Part};
use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::{Access, ErrorCode};

use crate::build::absent;
use crate::modify::{MODIFIED, PENDING, PR, W, X};
use crate::support::enclave::{
    BASE, CODE, DATA, HOLE, MORE, PLAIN, RW, RX, SIZE, TCS, flags, secs,
};
use crate::support::machine::{PAGE, Target};
use crate::support::world::{GP, OK, World, code, epc, epcm_fault, epcm_read_fault};

#[test]
fn eaccept_checks_its_operands() {
    let mut world = World::new();
    let mut enclave = world.enclave(PLAIN);
    let stranger = world.enclave_of(
        &{
            let mut other = secs(PLAIN);
            other.set_baseaddr(BASE + SIZE);
            other
        },
        |_| {},
    );
    let page = world.augment(&mut enclave, HOLE);
    let request = flags(PageType::Reg, RW | PENDING);
    let outside = world.memory(1);
    world.map(BASE + 0xA000, Target::Memory(0));
    world.map(BASE + 0xB000, Target::Epc(stranger.page(DATA)));
    world.map(BASE + 0xC000, Target::Epc(enclave.page(MORE)));
    world.map(BASE + 0xD000, Target::Epc(enclave.page(TCS)));
    world.map(BASE + 0xE000, Target::Epc(enclave.secs));
    let secinfo = world.say(&enclave, request);
    let target = BASE + HOLE;
    assert_eq!(
        world.enclu(Enclu::Eaccept, [secinfo, target, 0]),
        GP,
        "outside an enclave"
    );
    world.enter(&enclave);
    for (operands, answer) in [
        ([secinfo + 8, target, 0], GP),
        ([secinfo, target + 8, 0], GP),
        ([outside, target, 0], GP),
        ([secinfo, BASE + SIZE, 0], GP),
        (
            [BASE + 0xA000, target, 0],
            epcm_read_fault(BASE + 0xA000, true),
        ),
        (
            [BASE + 0xB000, target, 0],
            epcm_read_fault(BASE + 0xB000, true),
        ),
        (
            [BASE + 0xC000, target, 0],
            epcm_read_fault(BASE + 0xC000, true),
        ),
        (
            [BASE + 0xD000, target, 0],
            epcm_read_fault(BASE + 0xD000, true),
        ),
        (
            [BASE + 0x9000, target, 0],
            absent(BASE + 0x9000, Access::Read, true),
        ),
        ([target, target, 0], epcm_read_fault(target, true)),
        (
            [secinfo, BASE + 0x9000, 0],
            absent(BASE + 0x9000, Access::Read, true),
        ),
        (
            [secinfo, BASE + 0xA000, 0],
            epcm_read_fault(BASE + 0xA000, true),
        ),
        (
            [secinfo, BASE + 0xB000, 0],
            epcm_read_fault(BASE + 0xB000, true),
        ),
        (
            [secinfo, BASE + 0xE000, 0],
            epcm_read_fault(BASE + 0xE000, true),
        ),
        // The right page at another place.
        (
            [secinfo, BASE + 0xC000, 0],
            code(ErrorCode::PageAttributesMismatch),
        ),
    ] {
        world.refuses_user(Enclu::Eaccept, operands, answer);
    }
    for senseless in [
        flags(PageType::Reg, RW),
        flags(PageType::Reg, RW | PENDING | MODIFIED),
        flags(PageType::Tcs, PENDING | MODIFIED),
        flags(PageType::Tcs, MODIFIED | PR),
        flags(PageType::Trim, 0),
        flags(PageType::Secs, PENDING),
        flags(PageType::Va, PENDING),
        request | 1 << 20,
    ] {
        assert_eq!(
            world.accept(&enclave, HOLE, senseless),
            GP,
            "{senseless:#x}"
        );
    }
    let secinfo = world.say(&enclave, request);
    for part in [false, true] {
        let entry = world.entry(page);
        let claim = if part {
            entry.part(Part::Modification)
        } else {
            entry.claim()
        };
        assert!(claim.is_some());
        assert_eq!(world.enclu(Enclu::Eaccept, [secinfo, target, 0]), GP);
    }
    // All is as described, but not the place.
    world.map(BASE + 0xF000, Target::Epc(page));
    let mismatch = code(ErrorCode::PageAttributesMismatch);
    world.refuses_user(Enclu::Eaccept, [secinfo, BASE + 0xF000, 0], mismatch);
    assert_eq!(world.encls(Encls::Eblock, [0, epc(page), 0]), OK);
    world.refuses_user(
        Enclu::Eaccept,
        [secinfo, target, 0],
        epcm_read_fault(target, true),
    );
}

#[test]
fn eacceptcopy_fills_an_added_page() {
    let mut world = World::new();
    let mut enclave = world.enclave(PLAIN);
    let page = world.augment(&mut enclave, HOLE);
    world.put_inside(&enclave, DATA, b"to be copied");
    world.map(BASE + 0xA000, Target::Memory(0));
    world.map(BASE + 0xC000, Target::Epc(page));
    let outside = world.memory(1);
    let secinfo = world.say(&enclave, flags(PageType::Reg, RX));
    let (target, source) = (BASE + HOLE, BASE + DATA);
    let mismatch = code(ErrorCode::PageAttributesMismatch);
    world.enter(&enclave);
    for (operands, answer) in [
        ([secinfo + 8, target, source], GP),
        ([secinfo, target + 8, source], GP),
        ([secinfo, target, source + 8], GP),
        ([outside, target, source], GP),
        ([secinfo, BASE + SIZE, source], GP),
        ([secinfo, target, BASE - PAGE], GP),
        (
            [BASE + 0xA000, target, source],
            epcm_read_fault(BASE + 0xA000, true),
        ),
        (
            [secinfo, BASE + 0xA000, source],
            epcm_fault(BASE + 0xA000, true),
        ),
        (
            [secinfo, target, BASE + 0xA000],
            epcm_read_fault(BASE + 0xA000, true),
        ),
        (
            [secinfo, target, BASE + 0x9000],
            absent(BASE + 0x9000, Access::Read, true),
        ),
        ([secinfo, target, target], epcm_read_fault(target, true)),
        (
            [secinfo, target, BASE + TCS],
            epcm_read_fault(BASE + TCS, true),
        ),
        ([secinfo, source, source], mismatch),
        ([secinfo, BASE + 0xC000, source], mismatch),
    ] {
        world.refuses_user(Enclu::Eacceptcopy, operands, answer);
    }
    for wrong in [
        flags(PageType::Reg, W),
        flags(PageType::Tcs, RW),
        flags(PageType::Reg, RW) | 1 << 30,
    ] {
        let secinfo = world.say(&enclave, wrong);
        world.refuses_user(Enclu::Eacceptcopy, [secinfo, target, source], GP);
    }
    let secinfo = world.say(&enclave, flags(PageType::Reg, RX));
    let entry = world.entry(page);
    for part in [false, true] {
        let claim = if part {
            entry.part(Part::Modification)
        } else {
            entry.claim()
        };
        assert!(claim.is_some());
        assert_eq!(
            world.enclu(Enclu::Eacceptcopy, [secinfo, target, source]),
            GP
        );
    }
    assert_eq!(
        world.enclu(Enclu::Eacceptcopy, [secinfo, target, source]),
        OK
    );
    assert_eq!(world.inside(&enclave, HOLE, 12), b"to be copied");
    let attributes = entry.attributes();
    assert!(attributes.read && !attributes.write && attributes.execute && !attributes.pending);
}

#[test]
fn emodpe_checks_its_operands() {
    let mut world = World::new();
    let mut enclave = world.enclave(PLAIN);
    let pending = world.augment(&mut enclave, HOLE);
    assert!(world.entry(pending).attributes().pending);
    world.map(BASE + 0xA000, Target::Memory(0));
    world.map(BASE + 0xC000, Target::Epc(enclave.page(DATA)));
    let outside = world.memory(1);
    let secinfo = world.say(&enclave, flags(PageType::Reg, RW | X));
    let target = BASE + CODE;
    world.enter(&enclave);
    for (operands, answer) in [
        ([secinfo + 8, target, 0], GP),
        ([secinfo, target + 8, 0], GP),
        ([outside, target, 0], GP),
        ([secinfo, outside, 0], GP),
        (
            [BASE + 0xA000, target, 0],
            epcm_read_fault(BASE + 0xA000, true),
        ),
        (
            [secinfo, BASE + 0xA000, 0],
            epcm_read_fault(BASE + 0xA000, true),
        ),
        (
            [secinfo, BASE + 0x9000, 0],
            absent(BASE + 0x9000, Access::Read, true),
        ),
        (
            [secinfo, BASE + HOLE, 0],
            epcm_read_fault(BASE + HOLE, true),
        ),
        ([secinfo, BASE + TCS, 0], epcm_read_fault(BASE + TCS, true)),
        (
            [secinfo, BASE + 0xC000, 0],
            epcm_read_fault(BASE + 0xC000, true),
        ),
    ] {
        world.refuses_user(Enclu::Emodpe, operands, answer);
    }
    let reserved = world.say(&enclave, 1 << 20);
    world.refuses_user(Enclu::Emodpe, [reserved, target, 0], GP);
    let entry = world.entry(enclave.page(CODE));
    let part = entry.part(Part::Modification);
    let secinfo = world.say(&enclave, flags(PageType::Reg, W));
    assert_eq!(world.enclu(Enclu::Emodpe, [secinfo, target, 0]), GP);
    drop(part);
    world.enclu(Enclu::Emodpe, [secinfo, target, 0]);
    let attributes = entry.attributes();
    assert!(attributes.read && attributes.write && attributes.execute);
    // A page without any rights cannot become writable only.
    let page = world.augment(&mut enclave, 0x9000);
    let secinfo = world.say(&enclave, flags(PageType::Reg, 0));
    let copy = [secinfo, BASE + 0x9000, BASE + DATA];
    assert_eq!(world.enclu(Enclu::Eacceptcopy, copy), OK);
    let secinfo = world.say(&enclave, flags(PageType::Reg, W));
    world.refuses_user(Enclu::Emodpe, [secinfo, BASE + 0x9000, 0], GP);
    assert!(!world.entry(page).attributes().write);
}
