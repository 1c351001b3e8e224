//! Into enclaves and back: EENTER, EEXIT.

use adyton_sgx::epcm::PageType;
use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::{Gprsgx, Secs, Tcs};
use adyton_sgx::{Access, Capabilities, Event, Flags, Register};

use crate::build::{WILD, absent};
use crate::support::enclave::{
    AEP, BASE, CODE, DATA, Enclave, HOLE, MORE, OUTSIDE, PLAIN, RW, SSA, TCS, flags, secs, tcs,
};
use crate::support::machine::{Mode, PAGE, Target};
use crate::support::signer::Signer;
use crate::support::world::{Answer, GP, OK, World, code, epc, epcm_fault};
use adyton_sgx::ErrorCode;

pub const THREAD: u64 = BASE + TCS;

impl World {
    /// TCS as the processor has it.
    pub fn tcs_of(&self, enclave: &Enclave) -> Tcs {
        let mut tcs = Tcs::zeroed();
        tcs.0.copy_from_slice(self.inside(enclave, TCS, Tcs::SIZE));
        tcs
    }

    /// GPRSGX of a frame.
    pub fn gpr(&self, enclave: &Enclave, frame: u64) -> Gprsgx {
        let mut gpr = Gprsgx::zeroed();
        let offset = SSA + frame * PAGE + PAGE - Gprsgx::SIZE as u64;
        gpr.0
            .copy_from_slice(self.inside(enclave, offset, Gprsgx::SIZE));
        gpr
    }

    /// An enclave whose TCS has been changed before it was measured.
    pub fn enclave_with(&mut self, page: &Secs, change: impl FnOnce(&mut Tcs)) -> Enclave {
        let mut enclave = self.create(page);
        let mut thread = tcs();
        change(&mut thread);
        let mut contents = [0; PAGE as usize];
        contents[..Tcs::SIZE].copy_from_slice(&thread.0);
        self.add(&mut enclave, TCS, flags(PageType::Tcs, 0), &contents);
        for offset in [SSA, SSA + PAGE, SSA + 2 * PAGE, DATA] {
            self.add(
                &mut enclave,
                offset,
                flags(PageType::Reg, RW),
                &[0; PAGE as usize],
            );
        }
        let signer = Signer::first();
        self.machine.launch_key_hash = signer.identity();
        let mut signature = enclave.unsigned();
        signer.sign(&mut signature);
        assert_eq!(self.init(&enclave, &signature), OK);
        enclave
    }
}

#[test]
fn a_thread_enters_at_the_entry_and_leaves_where_it_wants() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    world.processor.flags |= Flags::TF;
    let outside = world.processor;
    world.enter(&enclave);
    let inside = world.processor;
    assert_eq!(inside.rip, BASE + CODE + 0x10);
    assert_eq!(inside.get(Register::Rcx), outside.next);
    assert_eq!(inside.get(Register::Rax), 0);
    assert_eq!(inside.get(Register::Rsp), outside.get(Register::Rsp));
    assert_eq!((inside.fs.base, inside.gs.base), (BASE + DATA, BASE + MORE));
    assert_eq!((inside.fs.limit, inside.fs.selector), (0xFFF, 0x0B));
    assert_eq!(inside.xcr0, 7);
    assert_eq!(inside.flags, outside.flags - Flags::TF);
    let thread = world.thread.expect("inside");
    assert_eq!(
        (thread.base, thread.size, thread.secs),
        (enclave.base, enclave.size, enclave.secs)
    );
    assert!(
        thread.contains(BASE)
            && thread.contains(BASE + 0xFFFF)
            && !thread.contains(BASE + 0x1_0000)
            && !thread.contains(BASE - 1)
    );
    assert_eq!(world.tcs_of(&enclave).state(), 1);
    assert_eq!(world.entry(enclave.secs).tracking().threads(), 1);

    // Not twice by one TCS, and not from inside.
    world.refuses_user(Enclu::Eenter, [THREAD, AEP, 0], GP);
    let mut other = None;
    std::mem::swap(&mut world.thread, &mut other);
    world.refuses_user(Enclu::Eenter, [THREAD, AEP, 0], GP);
    std::mem::swap(&mut world.thread, &mut other);

    world.refuses_user(Enclu::Eexit, [WILD, 0, 0], GP);
    world.leave();
    assert_eq!(world.processor.rip, OUTSIDE);
    assert_eq!(world.processor.get(Register::Rcx), AEP);
    assert_eq!(
        (world.processor.fs, world.processor.gs),
        (outside.fs, outside.gs)
    );
    assert_eq!(
        (world.processor.xcr0, world.processor.flags),
        (outside.xcr0, outside.flags)
    );
    assert_eq!(world.thread, None);
    assert_eq!(world.tcs_of(&enclave).state(), 0);
    assert_eq!(world.entry(enclave.secs).tracking().threads(), 0);
    world.refuses_user(Enclu::Eexit, [OUTSIDE, 0, 0], GP);
    assert_eq!(
        world.enclu(Enclu::Eenter, [THREAD, AEP, 0]),
        Answer::Entered
    );
}

#[test]
fn xcr0_is_the_enclaves_inside() {
    let mut world = World::new();
    let mut page = secs(PLAIN);
    page.set_xfrm(3);
    let enclave = world.enclave_of(&page, |_| {});
    world.enter(&enclave);
    assert_eq!(world.processor.xcr0, 3);
    world.leave();
    assert_eq!(world.processor.xcr0, 7);
    world.enter(&enclave);
    world.event(Event::Other);
    assert_eq!(world.processor.xcr0, 7);
}

#[test]
fn eenter_checks_its_operands() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let data = BASE + DATA;
    world.map(BASE + 0x9000, Target::Memory(0));
    world.map(BASE + 0xA000, Target::Epc(enclave.page(TCS)));
    world.map(BASE + 0xB000, Target::Epc(adyton_sgx::EpcPage(60)));
    world.map(BASE + 0xC000, Target::Epc(enclave.secs));
    for leaf in [Enclu::Eenter, Enclu::Eresume] {
        for (operands, answer) in [
            ([THREAD + 8, AEP, 0], GP),
            ([WILD, AEP, 0], GP),
            ([THREAD, WILD, 0], GP),
            ([data, AEP, 0], epcm_fault(data, true)),
            ([BASE + 0x9000, AEP, 0], epcm_fault(BASE + 0x9000, true)),
            ([BASE + 0xA000, AEP, 0], epcm_fault(BASE + 0xA000, true)),
            ([BASE + 0xB000, AEP, 0], epcm_fault(BASE + 0xB000, true)),
            ([BASE + 0xC000, AEP, 0], epcm_fault(BASE + 0xC000, true)),
            (
                [BASE + HOLE, AEP, 0],
                absent(BASE + HOLE, Access::Write, true),
            ),
        ] {
            world.refuses_user(leaf, operands, answer);
        }
        let claim = world.entry(enclave.page(TCS)).claim();
        assert_eq!(world.enclu(leaf, [THREAD, AEP, 0]), GP);
        drop(claim);
    }
    // Nothing to resume.
    world.refuses_user(Enclu::Eresume, [THREAD, AEP, 0], GP);
    // Not initialized.
    let mut raw = world.create(&secs(PLAIN));
    world.furnish(&mut raw);
    world.refuses_user(Enclu::Eenter, [THREAD, AEP, 0], GP);
}

#[test]
fn eenter_checks_the_thread_and_the_mode() {
    type Change = fn(&mut Tcs);
    let wrong: [Change; 9] = [
        |tcs| tcs.set_ossa(SSA + 8),
        |tcs| tcs.set_ofsbase(8),
        |tcs| tcs.set_ogsbase(8),
        |tcs| tcs.set_flags(4),
        |tcs| tcs.set_flags(2),
        |tcs| tcs.set_nssa(0),
        |tcs| tcs.set_oentry(1 << 60),
        |tcs| tcs.set_ofsbase(1 << 60),
        |tcs| tcs.set_ogsbase(1 << 60),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        let mut world = World::new();
        world.enclave_with(&secs(PLAIN), change);
        let before = world.snapshot();
        assert_eq!(
            world.enclu(Enclu::Eenter, [THREAD, AEP, 0]),
            GP,
            "change {number}"
        );
        assert_eq!(world.snapshot(), before);
    }
    // Offsets that wrap lead back into the range, and are the enclave's own affair.
    let mut world = World::new();
    let enclave = world.enclave_with(&secs(PLAIN), |tcs| tcs.set_oentry(0_u64.wrapping_sub(BASE)));
    world.enter(&enclave);
    assert_eq!(world.processor.rip, 0);

    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let mode = world.machine.mode;
    let modes = [
        Mode {
            osfxsr: false,
            ..mode
        },
        Mode {
            osxsave: false,
            ..mode
        },
    ];
    for wrong in modes {
        world.machine.mode = wrong;
        assert_eq!(world.enclu(Enclu::Eenter, [THREAD, AEP, 0]), GP);
    }
    world.machine.mode = mode;
    world.processor.xcr0 = 3;
    world.refuses_user(Enclu::Eenter, [THREAD, AEP, 0], GP);
    world.processor.xcr0 = 0xE7;
    world.enter(&enclave);
}

#[test]
fn every_page_of_the_frame_must_be_the_enclaves_own() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let good = Target::Epc(enclave.page(SSA));
    let stranger = world.enclave_of(
        &{
            let mut other = secs(PLAIN);
            other.set_miscselect(0);
            other
        },
        |_| {},
    );
    for (offset, page) in enclave.pages.clone() {
        world.map(BASE + offset, Target::Epc(page));
    }
    let enter = [THREAD, AEP, 0];
    let fault = epcm_fault(BASE + SSA, true);
    for wrong in [
        Target::Memory(0),
        Target::Epc(enclave.page(DATA)),
        Target::Epc(enclave.page(TCS)),
        Target::Epc(stranger.page(SSA)),
        Target::Epc(enclave.secs),
        Target::Epc(adyton_sgx::EpcPage(60)),
    ] {
        world.map(BASE + SSA, wrong);
        world.refuses_user(Enclu::Eenter, enter, fault);
    }
    world.machine.tables.remove(&(BASE + SSA));
    world.refuses_user(
        Enclu::Eenter,
        enter,
        absent(BASE + SSA, Access::Write, true),
    );
    world.map(BASE + SSA, good);
    world
        .machine
        .tables
        .get_mut(&(BASE + SSA))
        .expect("mapped")
        .write = false;
    let Answer::Fault(fault) = world.enclu(Enclu::Eenter, enter) else {
        panic!("a frame that cannot be written");
    };
    assert_eq!(
        (fault.vector, fault.error, fault.address),
        (14, 7, BASE + SSA)
    );
    world.map(BASE + SSA, good);
    // By the EPCM.
    assert_eq!(
        world.change(Encls::Emodpr, enclave.page(SSA), 1 | 2 << 8),
        OK
    );
    world.refuses_user(Enclu::Eenter, enter, epcm_fault(BASE + SSA, true));

    // A frame of code, or of what is not there.
    let mut world = World::new();
    world.enclave_with(&secs(PLAIN), |tcs| tcs.set_ossa(0x8000));
    let answer = absent(BASE + 0x8000, Access::Write, true);
    world.refuses_user(Enclu::Eenter, enter, answer);
    let mut world = World::new();
    world.enclave_with(&secs(PLAIN), |tcs| tcs.set_ossa(1 << 60));
    world.refuses_user(Enclu::Eenter, enter, GP);
    let mut world = World::new();
    world.enclave_with(&secs(PLAIN), |tcs| tcs.set_ossa(TCS));
    world.refuses_user(Enclu::Eenter, enter, epcm_fault(BASE + TCS, true));
}

#[test]
fn frames_of_several_pages_are_found_page_by_page() {
    let mut capabilities = Capabilities::BASIC;
    capabilities.xfrm = 0xE7;
    for (component, offset, size) in [
        (2, 576, 256),
        (5, 1088, 64),
        (6, 1152, 512),
        (7, 1664, 4096),
    ] {
        capabilities.components[component] = adyton_sgx::platform::StateComponent { offset, size };
    }
    assert_eq!(capabilities.xsave_size(0xE7), 5760);
    let mut world = World::with(64, 7, capabilities);
    world.processor.xcr0 = 0xE7;
    let mut page = secs(PLAIN);
    page.set_xfrm(0xE7);
    assert_eq!(
        world.try_create(&page, adyton_sgx::EpcPage(60)).0,
        GP,
        "one page is too small"
    );
    page.set_ssaframesize(3);
    let enclave = world.enclave_with(&page, |tcs| tcs.set_nssa(1));
    world.enter(&enclave);
    let thread = world.thread.expect("inside");
    assert_eq!(thread.xsave_count, 2);
    assert_eq!(
        thread.xsave[..2],
        [enclave.page(SSA), enclave.page(SSA + PAGE)]
    );
    assert_eq!(thread.gpr, enclave.page(SSA + 2 * PAGE));
    world.machine.vector[5000] = 42;
    world.event(Event::Other);
    assert_eq!(world.inside(&enclave, SSA + 5000, 1), [42]);
    assert_eq!(
        world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
        Answer::Entered
    );
    assert_eq!(world.machine.vector[5000], 42);
}

#[test]
fn breakpoints_and_single_steps_are_for_debuggers_only() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN | attribute::DEBUG);
    world.processor.flags |= Flags::TF;
    world.enter(&enclave);
    assert!(!world.thread.expect("inside").debug);
    assert!(!world.processor.flags.contains(Flags::TF));
    world.leave();
    assert!(world.processor.flags.contains(Flags::TF));
    assert_eq!(
        world.encls(Encls::Edbgwr, [1, epc(enclave.page(TCS)) + 8, 0]),
        OK
    );
    world.enter(&enclave);
    assert!(world.thread.expect("inside").debug);
    assert!(world.processor.flags.contains(Flags::TF));
    world.processor.flags -= Flags::TF;
    world.leave();
    assert!(!world.processor.flags.contains(Flags::TF));
}

#[test]
fn an_enclave_of_32_bits_runs_in_32_bit_mode() {
    let mut world = World::new();
    let mut page = secs(0);
    page.set_baseaddr(0x1000_0000);
    let enclave = world.enclave_of(&page, |_| {});
    assert!(world.entry(enclave.secs).attributes().valid);
    let thread = 0x1000_0000;
    let kernel = world.machine.mode;
    world.refuses_user(Enclu::Eenter, [thread, AEP, 0], GP);
    world.machine.mode.long = false;
    // The upper halves of registers do not count.
    assert_eq!(
        world.enclu(Enclu::Eenter, [thread | WILD, AEP, 0]),
        Answer::Entered
    );
    assert_eq!(world.processor.rip, thread + CODE + 0x10);
    let upper = world.processor.general[12];
    world.processor.set(Register::Rsi, 0x1234_5678);
    world.processor.rip = thread + CODE;
    world.event(Event::Other);
    assert_eq!(world.processor.get(Register::Rsi), 0);
    assert_eq!(world.processor.general[12], upper);
    assert_eq!(
        world.enclu(Enclu::Eresume, [thread, AEP, 0]),
        Answer::Entered
    );
    assert_eq!(world.processor.get(Register::Rsi), 0x1234_5678);
    world.machine.mode.code_limit = 0xFFFF;
    assert_eq!(world.enclu(Enclu::Eexit, [0x1_0000, 0, 0]), GP);
    assert_eq!(world.enclu(Enclu::Eexit, [0xFFFF, 0, 0]), Answer::Left);
    world.machine.mode = kernel;
    let mut long = World::new();
    page.set_attributes(PLAIN);
    long.enclave_of(&page, |_| {});
    long.machine.mode.long = false;
    long.refuses_user(Enclu::Eenter, [thread, AEP, 0], GP);
    let limits = [
        Mode {
            flat: false,
            long: false,
            ..kernel
        },
        Mode {
            code_limit: 0xFFFF,
            long: false,
            ..kernel
        },
        Mode {
            data_limit: 0x1000_0000,
            long: false,
            ..kernel
        },
    ];
    for wrong in limits {
        world.machine.mode = wrong;
        assert_eq!(world.enclu(Enclu::Eenter, [thread, AEP, 0]), GP);
    }
}

#[test]
fn leaves_that_do_not_exist_fault() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    for number in [0x14, 0x15, 0x20, 0xFFFF_FFFF_u64] {
        world.processor.set(Register::Rax, number);
        world.machine.mode.privilege = 0;
        let outcome = adyton_sgx::encls(
            &mut world.machine,
            &mut world.progress,
            &mut world.processor,
        );
        assert_eq!(
            outcome,
            adyton_sgx::Outcome::Fault(adyton_sgx::Fault::general_protection())
        );
    }
    world.enter(&enclave);
    for number in [8, 10, 0xFFFF_FFFF_u64] {
        world.processor.set(Register::Rax, number);
        let outcome =
            adyton_sgx::enclu(&mut world.machine, &mut world.thread, &mut world.processor);
        assert_eq!(
            outcome,
            adyton_sgx::Outcome::Fault(adyton_sgx::Fault::general_protection())
        );
    }
    assert_eq!(
        world.encls(Encls::Eremove, [0, epc(enclave.secs), 0]),
        code(ErrorCode::ChildPresent)
    );
}
