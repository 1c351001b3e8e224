//! Building enclaves: ECREATE, EADD, EEXTEND, EPA.

use adyton_sgx::epcm::{PageType, Part};
use adyton_sgx::leaf::Encls;
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::{Pageinfo, Secs, secinfo_flags};
use adyton_sgx::{Access, Fault};

use crate::support::enclave::{
    BASE, CODE, DATA, HOLE, OK_SILENT, PLAIN, RW, SIZE, TCS, flags, secs, tcs,
};
use crate::support::machine::PAGE;
use crate::support::world::{Answer, GP, World, epc, epcm_fault, epcm_read_fault};

/// An address that is not canonical.
pub const WILD: u64 = 1 << 60;
/// One at which nothing is mapped.
pub const NOWHERE: u64 = 0xFFFF_9000_0000_0000;

/// The page fault of an absent translation.
pub fn absent(address: u64, access: Access, user: bool) -> Answer {
    let mut fault = Fault::epcm(address, access, user);
    fault.error &= !(1 << 15 | 1);
    Answer::Fault(fault)
}

#[test]
fn an_enclave_is_built_and_initialized() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let entry = world.entry(enclave.secs);
    assert!(entry.attributes().is(PageType::Secs));
    assert_eq!(entry.children(), 6);
    let code = world.entry(enclave.page(CODE));
    assert_eq!(code.address(), BASE + CODE);
    let attributes = code.attributes();
    assert!(attributes.read && !attributes.write && attributes.execute);
    let tcs = world.entry(enclave.page(TCS)).attributes();
    assert!(!(tcs.read || tcs.write || tcs.execute));
}

#[test]
fn ecreate_checks_its_operands() {
    let mut world = World::new();
    let page = world.free_page();
    let source = world.holding(&secs(PLAIN).0);
    let secinfo = world.secinfo(flags(PageType::Secs, 0));
    let info = world.page_info(0, source, secinfo, 0);
    let target = epc(page);
    for (operands, answer) in [
        ([info + 8, target, 0], GP),
        ([info, target + 8, 0], GP),
        ([WILD, target, 0], GP),
        ([info, WILD, 0], GP),
        ([info, source, 0], epcm_fault(source, false)),
        ([info, NOWHERE, 0], absent(NOWHERE, Access::Write, false)),
        ([NOWHERE, target, 0], absent(NOWHERE, Access::Read, false)),
    ] {
        world.refuses(Encls::Ecreate, operands, answer);
    }
    let reserved = world.secinfo(flags(PageType::Secs, 1 << 6));
    let regular = world.secinfo(flags(PageType::Reg, 0));
    let mut dirty = [0; 64];
    dirty[63] = 1;
    let dirty = world.holding(&dirty);
    for (fields, answer) in [
        ([0, source + 8, secinfo, 0], GP),
        ([0, WILD, secinfo, 0], GP),
        ([0, source, secinfo + 8, 0], GP),
        ([PAGE, source, secinfo, 0], GP),
        ([0, source, secinfo, target], GP),
        ([0, source, reserved, 0], GP),
        ([0, source, regular, 0], GP),
        ([0, source, dirty, 0], GP),
        // What lies in the EPC is no SECS that software wrote.
        ([0, epc(world.free_page()), secinfo, 0], GP),
        (
            [0, NOWHERE, secinfo, 0],
            absent(NOWHERE, Access::Read, false),
        ),
        (
            [0, source, NOWHERE, 0],
            absent(NOWHERE, Access::Read, false),
        ),
    ] {
        let [linaddr, srcpge, secinfo, secs] = fields;
        let info = world.page_info(linaddr, srcpge, secinfo, secs);
        world.refuses(Encls::Ecreate, [info, target, 0], answer);
    }
    assert_eq!(world.silent(Encls::Ecreate, [info, target, 0]), OK_SILENT);
    world.refuses(Encls::Ecreate, [info, target, 0], epcm_fault(target, false));
}

#[test]
fn ecreate_checks_the_secs() {
    type Change = fn(&mut Secs);
    let mut world = World::new();
    let page = world.free_page();
    let changes: &[Change] = &[
        |secs| secs.set_size(PAGE),
        |secs| secs.set_size(SIZE * 3),
        |secs| secs.set_size(0),
        |secs| {
            secs.set_size(1 << 36);
            secs.set_baseaddr(0);
        },
        |secs| secs.set_baseaddr(BASE + PAGE),
        |secs| secs.set_baseaddr(1 << 60),
        |secs| secs.set_xfrm(0),
        |secs| secs.set_xfrm(5),
        |secs| secs.set_xfrm(0xB),
        |secs| secs.set_xfrm(0x1F),
        |secs| secs.set_xfrm(0xE3),
        |secs| secs.set_attributes(PLAIN | attribute::INIT),
        |secs| secs.set_attributes(PLAIN | 1 << 3),
        |secs| secs.set_attributes(PLAIN | 1 << 6),
        |secs| secs.set_attributes(PLAIN | 1 << 63),
        |secs| secs.set_ssaframesize(0),
        |secs| secs.set_miscselect(2),
        |secs| secs.set_configsvn(1),
        |secs| secs.set_configid(&[1; 64]),
        |secs| secs.0[24] = 1,
        |secs| secs.0[96] = 1,
        |secs| secs.0[191] = 1,
        |secs| secs.0[262] = 1,
        |secs| secs.set_eid(1),
        |secs| secs.set_isvfamilyid(&[1; 16]),
        |secs| secs.0[511] = 1,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut wrong = secs(PLAIN);
        change(&mut wrong);
        assert_eq!(world.try_create(&wrong, page).0, GP, "change {number}");
    }
    let (_, operands) = world.try_create(&secs(PLAIN | 8), page);
    let source = {
        let info = world.get(operands[0], Pageinfo::SIZE);
        u64::from_le_bytes(info[8..16].try_into().expect("eight bytes"))
    };
    world.put(source, &secs(PLAIN).0);
    world.put(source + PAGE - 1, &[1]);
    world.refuses(Encls::Ecreate, operands, GP);
    world.put(source + PAGE - 1, &[0]);
    let mut separated = secs(PLAIN | attribute::KSS);
    separated.set_configid(&[1; 64]);
    separated.set_configsvn(9);
    separated.set_mrsigner(&[7; 32]);
    world.put(source, &separated.0);
    assert_eq!(world.silent(Encls::Ecreate, operands), OK_SILENT);
    assert_eq!(world.machine.epc[page.0 as usize][128..160], [0; 32]);
}

#[test]
fn enclaves_of_32_bits_lie_in_the_lowest_4_gib() {
    let mut world = World::new();
    let page = world.free_page();
    let mut low = secs(0);
    assert_eq!(world.try_create(&low, page).0, GP);
    low.set_baseaddr(0x1000_0000);
    low.set_size(1 << 31);
    assert_eq!(world.try_create(&low, page).0, GP);
    low.set_size(SIZE);
    assert_eq!(world.try_create(&low, page).0, OK_SILENT);
}

#[test]
fn eadd_checks_its_operands() {
    let mut world = World::new();
    let mut enclave = world.create(&secs(PLAIN));
    let page = world.free_page();
    let contents = [5; PAGE as usize];
    let good = world.add_operands(&enclave, DATA, flags(PageType::Reg, RW), &contents, page);
    let [info, target, _] = good;
    let fields = world.get(info, 32);
    let field = |number: usize| {
        u64::from_le_bytes(fields[number * 8..][..8].try_into().expect("eight bytes"))
    };
    let [linaddr, source, secinfo, secs_address] = [0, 1, 2, 3].map(field);
    for (operands, answer) in [
        ([info + 8, target, 0], GP),
        ([info, target + 1, 0], GP),
        ([info, source, 0], epcm_fault(source, false)),
        ([NOWHERE, target, 0], absent(NOWHERE, Access::Read, false)),
    ] {
        world.refuses(Encls::Eadd, operands, answer);
    }
    let other = epc(adyton_sgx::EpcPage(world.free_page().0 + 1));
    let writable = world.secinfo(flags(PageType::Reg, secinfo_flags::W));
    let wrong: Vec<u64> = [PageType::Secs, PageType::Va, PageType::Trim]
        .map(|kind| world.secinfo(flags(kind, RW)))
        .into();
    let unknown = world.secinfo(5 << 8 | RW);
    let reserved = world.secinfo(flags(PageType::Reg, RW) | 1 << 40);
    let mut cases = vec![
        ([linaddr + 8, source, secinfo, secs_address], GP),
        ([linaddr, source + 8, secinfo, secs_address], GP),
        ([linaddr, source, secinfo + 8, secs_address], GP),
        ([linaddr, source, secinfo, secs_address + 8], GP),
        (
            [linaddr, source, secinfo, source],
            epcm_fault(source, false),
        ),
        ([linaddr, source, secinfo, other], epcm_fault(other, false)),
        (
            [linaddr, NOWHERE, secinfo, secs_address],
            absent(NOWHERE, Access::Read, false),
        ),
        ([BASE - PAGE, source, secinfo, secs_address], GP),
        ([BASE + SIZE, source, secinfo, secs_address], GP),
        ([linaddr, source, writable, secs_address], GP),
        ([linaddr, source, unknown, secs_address], GP),
        ([linaddr, source, reserved, secs_address], GP),
    ];
    cases.extend(
        wrong
            .iter()
            .map(|wrong| ([linaddr, source, *wrong, secs_address], GP)),
    );
    for (fields, answer) in cases {
        let [linaddr, srcpge, secinfo, secs] = fields;
        let info = world.page_info(linaddr, srcpge, secinfo, secs);
        world.refuses(Encls::Eadd, [info, target, 0], answer);
    }
    assert_eq!(world.silent(Encls::Eadd, good), OK_SILENT);
    assert_eq!(world.machine.epc[page.0 as usize], contents);
    world.refuses(Encls::Eadd, good, epcm_fault(target, false));

    world.furnish(&mut enclave);
    let initialized = world.enclave(PLAIN);
    let page = world.free_page();
    let kind = flags(PageType::Reg, RW);
    let late = world.add_operands(&initialized, HOLE, kind, &contents, page);
    world.refuses(Encls::Eadd, late, GP);
    let timely = world.add_operands(&enclave, HOLE, kind, &contents, page);
    assert_eq!(world.silent(Encls::Eadd, timely), OK_SILENT);
}

#[test]
fn eadd_checks_a_tcs_and_takes_what_is_the_processors() {
    let mut world = World::new();
    let enclave = world.create(&secs(PLAIN));
    let page = world.free_page();
    let mut contents = [0; PAGE as usize];
    let mut thread = tcs();
    thread.set_flags(1);
    thread.set_cssa(1);
    thread.set_aep(7);
    thread.set_state(1);
    contents[..72].copy_from_slice(&thread.0);
    for reserved in [72, 4095] {
        contents[reserved] = 1;
        let operands = world.add_operands(&enclave, TCS, flags(PageType::Tcs, 0), &contents, page);
        world.refuses(Encls::Eadd, operands, GP);
        contents[reserved] = 0;
    }
    let operands = world.add_operands(&enclave, TCS, flags(PageType::Tcs, RW), &contents, page);
    assert_eq!(world.silent(Encls::Eadd, operands), OK_SILENT);
    assert_eq!(world.machine.epc[page.0 as usize][..72], tcs().0);
    let attributes = world.entry(page).attributes();
    assert!(attributes.is(PageType::Tcs) && !attributes.read && !attributes.write);

    let mut low = secs(0);
    low.set_baseaddr(0x1000_0000);
    let enclave = world.create(&low);
    let page = world.free_page();
    thread.set_gslimit(0xFFE);
    contents[..72].copy_from_slice(&thread.0);
    let operands = world.add_operands(&enclave, TCS, flags(PageType::Tcs, 0), &contents, page);
    world.refuses(Encls::Eadd, operands, GP);
}

#[test]
fn eextend_checks_its_operands() {
    let mut world = World::new();
    let mut enclave = world.create(&secs(PLAIN));
    world.furnish(&mut enclave);
    let other = world.create(&secs(PLAIN));
    let versions = world.free_page();
    assert_eq!(
        world.silent(Encls::Epa, [PageType::Va as u64, epc(versions), 0]),
        OK_SILENT
    );
    let (secs_page, page, memory) = (epc(enclave.secs), epc(enclave.page(DATA)), world.memory(1));
    let free = epc(world.free_page());
    for (operands, answer) in [
        ([secs_page + 8, page, 0], GP),
        ([secs_page, page + 128, 0], GP),
        ([memory, page, 0], epcm_fault(memory, false)),
        ([secs_page, memory, 0], epcm_read_fault(memory, false)),
        ([secs_page, free, 0], epcm_read_fault(free, false)),
        ([secs_page, secs_page, 0], epcm_read_fault(secs_page, false)),
        (
            [secs_page, epc(versions), 0],
            epcm_read_fault(epc(versions), false),
        ),
        ([epc(other.secs), page, 0], GP),
        ([page, page, 0], GP),
    ] {
        world.refuses(Encls::Eextend, operands, answer);
    }
    assert_eq!(
        world.silent(Encls::Eextend, [secs_page, page + 256, 0]),
        OK_SILENT
    );
    let late = world.enclave(PLAIN);
    world.refuses(
        Encls::Eextend,
        [epc(late.secs), epc(late.page(DATA)), 0],
        GP,
    );
}

#[test]
fn epa_makes_a_version_array() {
    let mut world = World::new();
    let page = world.free_page();
    let (kind, memory) = (PageType::Va as u64, world.memory(1));
    for (operands, answer) in [
        ([PageType::Reg as u64, epc(page), 0], GP),
        ([kind, epc(page) + 8, 0], GP),
        ([kind, memory, 0], epcm_fault(memory, false)),
    ] {
        world.refuses(Encls::Epa, operands, answer);
    }
    assert_eq!(world.silent(Encls::Epa, [kind, epc(page), 0]), OK_SILENT);
    assert_eq!(world.machine.epc[page.0 as usize], [0; PAGE as usize]);
    world.refuses(
        Encls::Epa,
        [kind, epc(page), 0],
        epcm_fault(epc(page), false),
    );
}

#[test]
fn whoever_is_at_work_on_a_page_is_not_disturbed() {
    let mut world = World::new();
    let mut enclave = world.create(&secs(PLAIN));
    world.furnish(&mut enclave);
    let page = world.free_page();
    let contents = [5; PAGE as usize];
    let add = world.add_operands(&enclave, HOLE, flags(PageType::Reg, RW), &contents, page);
    let extend = [epc(enclave.secs), epc(enclave.page(DATA)), 0];
    let make = [PageType::Va as u64, epc(page), 0];
    let (_, create) = world.try_create(&secs(PLAIN | 8), page);
    let target = world.entry(page);
    for shared in [false, true] {
        let claim = if shared {
            target.share()
        } else {
            target.claim()
        };
        assert!(claim.is_some());
        for (leaf, operands) in [
            (Encls::Eadd, add),
            (Encls::Epa, make),
            (Encls::Ecreate, create),
        ] {
            assert_eq!(world.encls(leaf, operands), GP);
        }
        drop(claim);
    }
    let owner = world.entry(enclave.secs);
    for whole in [false, true] {
        let claim = if whole {
            owner.claim()
        } else {
            owner.part(Part::Measurement)
        };
        assert!(claim.is_some());
        for (leaf, operands) in [(Encls::Eadd, add), (Encls::Eextend, extend)] {
            assert_eq!(world.encls(leaf, operands), GP);
        }
        drop(claim);
    }
    let claim = world.entry(enclave.page(DATA)).claim();
    assert_eq!(world.encls(Encls::Eextend, extend), GP);
    drop(claim);
    assert_eq!(world.silent(Encls::Eextend, extend), OK_SILENT);
    assert_eq!(world.silent(Encls::Eadd, add), OK_SILENT);
}
