//! No new translations, and none left: EBLOCK, ETRACK, ETRACKC.

use adyton_sgx::epcm::Part;
use adyton_sgx::leaf::Encls;
use adyton_sgx::{Access, ErrorCode};

use crate::build::{NOWHERE, absent};
use crate::support::enclave::{DATA, PLAIN};
use crate::support::world::{GP, OK, World, code, epc, epcm_fault, remark};

#[test]
fn eblock_tells_what_cannot_be_blocked() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let versions = epc(world.versions());
    let page = epc(enclave.page(DATA));
    let free = epc(world.free_page());
    let memory = world.memory(1);
    for (target, answer) in [
        (page + 8, GP),
        (memory, epcm_fault(memory, false)),
        (NOWHERE, absent(NOWHERE, Access::Write, false)),
        (free, code(ErrorCode::PgInvld)),
        (epc(enclave.secs), remark(ErrorCode::PgIsSecs)),
        (versions, remark(ErrorCode::Notblockable)),
    ] {
        world.refuses(Encls::Eblock, [0, target, 0], answer);
    }
    let claim = world.entry(enclave.page(DATA)).claim();
    assert_eq!(
        world.encls(Encls::Eblock, [0, page, 0]),
        code(ErrorCode::EpcPageConflict)
    );
    drop(claim);
    assert_eq!(world.encls(Encls::Eblock, [0, page, 0]), OK);
    assert_eq!(world.machine.forgotten, [enclave.page(DATA)]);
    world.refuses(Encls::Eblock, [0, page, 0], remark(ErrorCode::Blkstate));
}

#[test]
fn etrack_waits_for_those_who_were_inside_twice() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let secs = epc(enclave.secs);
    let page = epc(enclave.page(DATA));
    let free = epc(world.free_page());
    let memory = world.memory(1);
    for (target, answer) in [
        (secs + 8, GP),
        (memory, epcm_fault(memory, false)),
        (free, epcm_fault(free, false)),
        (page, epcm_fault(page, false)),
    ] {
        world.refuses(Encls::Etrack, [0, target, 0], answer);
    }
    let part = world.entry(enclave.secs).part(Part::Tracking);
    assert_eq!(world.encls(Encls::Etrack, [0, secs, 0]), GP);
    drop(part);
    world.enter(&enclave);
    assert_eq!(world.encls(Encls::Etrack, [0, secs, 0]), OK);
    world.refuses(Encls::Etrack, [0, secs, 0], code(ErrorCode::PrevTrkIncmpl));
    world.refuses(Encls::Etrackc, [0, page, 0], code(ErrorCode::PrevTrkIncmpl));
    world.refuses(Encls::Etrackc, [0, secs, 0], code(ErrorCode::PrevTrkIncmpl));
    world.leave();
    assert_eq!(world.encls(Encls::Etrackc, [0, page, 0]), OK);
    assert_eq!(world.encls(Encls::Etrack, [0, secs, 0]), OK);
    let versions = epc(world.versions());
    let free = epc(world.free_page());
    world.refuses(Encls::Etrackc, [0, page + 8, 0], GP);
    world.refuses(Encls::Etrackc, [0, memory, 0], epcm_fault(memory, false));
    world.refuses(Encls::Etrackc, [0, free, 0], code(ErrorCode::PgInvld));
    world.refuses(
        Encls::Etrackc,
        [0, versions, 0],
        remark(ErrorCode::TrackNotRequired),
    );
    let conflict = code(ErrorCode::EpcPageConflict);
    let claim = world.entry(enclave.page(DATA)).claim();
    assert_eq!(world.encls(Encls::Etrackc, [0, page, 0]), conflict);
    drop(claim);
    let part = world.entry(enclave.secs).part(Part::Tracking);
    assert_eq!(world.encls(Encls::Etrackc, [0, page, 0]), conflict);
    drop(part);
}
