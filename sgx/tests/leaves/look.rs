//! Looking and removing: EDBGRD, EDBGWR, ERDINFO, EREMOVE.

use adyton_sgx::epcm::PageType;
use adyton_sgx::leaf::Encls;
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::Rdinfo;
use adyton_sgx::{Access, EpcPage, ErrorCode, Machine, Register};

use crate::build::{NOWHERE, absent};
use crate::support::enclave::{DATA, HOLE, OK_SILENT, PLAIN, RW, SSA, TCS, flags};
use crate::support::world::{GP, OK, World, code, epc, epcm_fault, epcm_read_fault, remark};

const DEBUGGED: u64 = PLAIN | attribute::DEBUG;

#[test]
fn a_debugger_reads_and_writes_a_debug_enclave() {
    let mut world = World::new();
    let mut enclave = world.enclave(DEBUGGED);
    let page = epc(enclave.page(DATA)) + 16;
    assert_eq!(
        world.encls(Encls::Edbgwr, [0x1122_3344_5566_7788, page, 0]),
        OK
    );
    assert_eq!(world.encls(Encls::Edbgrd, [0, page, 0]), OK);
    assert_eq!(world.processor.get(Register::Rbx), 0x1122_3344_5566_7788);
    let tcs = epc(enclave.page(TCS));
    assert_eq!(world.encls(Encls::Edbgrd, [0, tcs + 16, 0]), OK);
    assert_eq!(world.processor.get(Register::Rbx), SSA);
    world.refuses(Encls::Edbgrd, [0, tcs + 72, 0], GP);
    for offset in [0, 16, 24, 40] {
        world.refuses(Encls::Edbgwr, [1, tcs + offset, 0], GP);
    }
    assert_eq!(world.encls(Encls::Edbgwr, [1, tcs + 8, 0]), OK);

    let pending = epc(world.augment(&mut enclave, HOLE));
    let closed = code(ErrorCode::PageNotDebuggable);
    world.refuses(Encls::Edbgrd, [0, pending, 0], closed);
    world.refuses(Encls::Edbgwr, [0, pending, 0], closed);
}

#[test]
fn nobody_reads_or_writes_what_is_not_for_debugging() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let versions = world.versions();
    let (page, owner, slot) = (epc(enclave.page(DATA)), epc(enclave.secs), epc(versions));
    let (memory, free) = (world.memory(1), epc(world.free_page()));
    for leaf in [Encls::Edbgrd, Encls::Edbgwr] {
        let fault = if leaf == Encls::Edbgrd {
            epcm_read_fault
        } else {
            epcm_fault
        };
        let access = if leaf == Encls::Edbgrd {
            Access::Read
        } else {
            Access::Write
        };
        for (target, answer) in [
            (page, GP),
            (epc(enclave.page(TCS)) + 8, GP),
            (page + 4, GP),
            (owner, fault(owner, false)),
            (memory, fault(memory, false)),
            (free, fault(free, false)),
            (NOWHERE, absent(NOWHERE, access, false)),
        ] {
            world.refuses(leaf, [7, target, 0], answer);
        }
        let claim = world.entry(enclave.page(DATA)).claim();
        assert_eq!(world.encls(leaf, [7, page, 0]), GP);
        drop(claim);
    }
    // Of a version array only whether a slot is in use.
    world.refuses(Encls::Edbgwr, [7, slot, 0], epcm_fault(slot, false));
    assert_eq!(world.encls(Encls::Edbgrd, [7, slot, 0]), OK);
    assert_eq!(world.processor.get(Register::Rbx), 0);
    world.block(&enclave, enclave.page(DATA));
    world.write_out(enclave.page(DATA), slot);
    assert_eq!(world.encls(Encls::Edbgrd, [7, slot, 0]), OK);
    assert_eq!(world.processor.get(Register::Rbx), u64::MAX);
}

#[test]
fn erdinfo_describes_a_page() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let versions = world.versions();
    let place = world.memory(1);
    let context = world.machine.physical(enclave.secs);
    assert_eq!(
        world.encls(Encls::Eblock, [0, epc(enclave.page(DATA)), 0]),
        OK
    );
    let cases = [
        (
            enclave.page(DATA),
            0,
            flags(PageType::Reg, RW) | 1 << 63,
            context,
        ),
        (enclave.page(TCS), 0, flags(PageType::Tcs, 0), context),
        (enclave.secs, 1, flags(PageType::Secs, 0), context),
        (versions, 0, flags(PageType::Va, 0), 0),
    ];
    for (page, status, flags, context) in cases {
        assert_eq!(world.encls(Encls::Erdinfo, [place, epc(page), 0]), OK);
        let mut info = Rdinfo::zeroed();
        info.0.copy_from_slice(&world.get(place, Rdinfo::SIZE));
        assert_eq!(
            (info.status(), info.flags(), info.enclavecontext()),
            (status, flags, context)
        );
    }
    let page = epc(enclave.page(DATA));
    let free = epc(world.free_page());
    for (operands, answer) in [
        ([place + 8, page, 0], GP),
        ([place, page + 8, 0], GP),
        ([NOWHERE, page, 0], absent(NOWHERE, Access::Write, false)),
        ([place, NOWHERE, 0], absent(NOWHERE, Access::Read, false)),
        ([place, place, 0], remark(ErrorCode::PgNonepc)),
        ([place, free, 0], remark(ErrorCode::PgInvld)),
    ] {
        world.refuses(Encls::Erdinfo, operands, answer);
    }
    let claim = world.entry(enclave.page(DATA)).claim();
    assert_eq!(
        world.encls(Encls::Erdinfo, [place, page, 0]),
        code(ErrorCode::EpcPageConflict)
    );
    drop(claim);
}

#[test]
fn eremove_frees_what_nobody_uses() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let versions = world.versions();
    let (owner, page, memory) = (epc(enclave.secs), epc(enclave.page(DATA)), world.memory(1));
    for (target, answer) in [
        (page + 8, GP),
        (memory, epcm_fault(memory, false)),
        (NOWHERE, absent(NOWHERE, Access::Write, false)),
        (owner, code(ErrorCode::ChildPresent)),
    ] {
        world.refuses(Encls::Eremove, [0, target, 0], answer);
    }
    world.enter(&enclave);
    for offset in [DATA, TCS, SSA] {
        let target = [0, epc(enclave.page(offset)), 0];
        world.refuses(Encls::Eremove, target, code(ErrorCode::EnclaveAct));
    }
    world.leave();
    let claim = world.entry(enclave.page(DATA)).claim();
    assert_eq!(world.encls(Encls::Eremove, [0, page, 0]), GP);
    drop(claim);
    for (_, page) in &enclave.pages {
        assert_eq!(world.encls(Encls::Eremove, [0, epc(*page), 0]), OK);
    }
    assert!(world.entry(enclave.secs).attributes().valid);
    for target in [owner, epc(versions), epc(EpcPage(60))] {
        assert_eq!(world.encls(Encls::Eremove, [0, target, 0]), OK);
    }
    assert!(!world.entry(enclave.secs).attributes().valid);
    let again = [PageType::Va as u64, owner, 0];
    assert_eq!(world.silent(Encls::Epa, again), OK_SILENT);
}
