//! Out of enclaves unasked, and on again: asynchronous exits, ERESUME, EDECCSSA.

use adyton_sgx::leaf::Enclu;
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::{Exinfo, Gprsgx};
use adyton_sgx::{Control, Event, Flags, Register, Segment};

use crate::build::WILD;
use crate::enter::THREAD;
use crate::support::enclave::{AEP, BASE, CODE, DATA, PLAIN, SSA, TCS, secs};
use crate::support::machine::{PAGE, Target};
use crate::support::world::{Answer, GP, World, epcm_fault, registers};

fn exception(vector: u8) -> Event {
    Event::Exception {
        vector,
        error: 0,
        address: 0,
    }
}

fn page_fault(address: u64) -> Event {
    Event::Exception {
        vector: 14,
        error: 6,
        address,
    }
}

#[test]
fn an_interrupted_thread_shows_nothing_and_goes_on_where_it_was() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    world.processor.flags |= Flags::TF;
    let outside = world.processor;
    world.enter(&enclave);
    let made_up = world.processor.flags;
    let mut inside = registers();
    inside.general = std::array::from_fn(|number| 0xDEAD_0000 + number as u64);
    inside.rip = BASE + CODE + 0x123;
    inside.flags = made_up | Flags::STATUS | Flags::DF | Flags::RF | Flags::AC;
    inside.fs = Segment {
        base: 0x1111_0000,
        ..world.processor.fs
    };
    inside.gs = Segment {
        base: 0x2222_0000,
        ..world.processor.gs
    };
    world.processor = inside;
    world.machine.vector.fill(0x5A);
    world.machine.vector[24..28].copy_from_slice(&0x1F80_u32.to_le_bytes());
    assert_eq!(world.event(page_fault(BASE + DATA + 0x678)), BASE + DATA);

    let after = world.processor;
    let mut expected = [0; 16];
    expected[Register::Rax as usize] = 3;
    expected[Register::Rbx as usize] = THREAD;
    expected[Register::Rcx as usize] = AEP;
    expected[Register::Rsp as usize] = outside.get(Register::Rsp);
    expected[Register::Rbp as usize] = outside.get(Register::Rbp);
    assert_eq!(after.general, expected);
    assert_eq!(after.rip, AEP);
    let kept = Flags::STATUS | Flags::RF;
    assert_eq!(after.flags, (inside.flags - kept) | Flags::TF);
    assert_eq!((after.fs, after.gs), (outside.fs, outside.gs));
    assert!(world.machine.vector.iter().all(|byte| *byte == 0));
    let initial = Control {
        fcw: 0x37F,
        fsw: 0,
        mxcsr: 0x1FB0,
    };
    assert_eq!(world.machine.control, Some(initial));
    assert_eq!(world.entry(enclave.secs).tracking().threads(), 0);

    let saved = world.gpr(&enclave, 0);
    assert_eq!(saved.rip(), BASE + CODE + 0x123);
    assert_eq!(saved.rflags(), (inside.flags - Flags::TF).bits());
    assert_eq!((saved.fsbase(), saved.gsbase()), (0x1111_0000, 0x2222_0000));
    assert_eq!(saved.exitinfo(), 0x8000_030E);
    assert_eq!(saved.ursp(), outside.get(Register::Rsp));
    let mut details = Exinfo::zeroed();
    let place = SSA + PAGE - Gprsgx::SIZE as u64 - Exinfo::SIZE as u64;
    details
        .0
        .copy_from_slice(world.inside(&enclave, place, Exinfo::SIZE));
    assert_eq!((details.maddr(), details.errcd()), (BASE + DATA + 0x678, 6));
    assert_eq!(
        (
            world.tcs_of(&enclave).cssa(),
            world.tcs_of(&enclave).state()
        ),
        (1, 0)
    );

    world.processor.next = 0x9999;
    assert_eq!(
        world.enclu(Enclu::Eresume, [THREAD, AEP + 16, 0]),
        Answer::Entered
    );
    let resumed = world.processor;
    assert_eq!(resumed.general, inside.general);
    assert_eq!((resumed.rip, resumed.flags), (inside.rip, inside.flags));
    assert_eq!(
        (resumed.fs.base, resumed.gs.base),
        (0x1111_0000, 0x2222_0000)
    );
    assert_eq!(world.machine.vector[100], 0x5A);
    assert_eq!(world.tcs_of(&enclave).cssa(), 0);
    // The new exit pointer is the one that counts.
    world.event(Event::Other);
    assert_eq!(world.processor.rip, AEP + 16);
    assert_eq!(world.gpr(&enclave, 0).exitinfo(), 0);
}

#[test]
fn an_enclave_is_told_of_the_exceptions_that_it_may_handle() {
    let told = [0, 1, 3, 5, 6, 16, 17, 19];
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let mut page = secs(PLAIN);
    page.set_miscselect(0);
    let mut quiet = World::new();
    let uninformed = quiet.enclave_of(&page, |_| {});
    for vector in 0..32 {
        world.enter(&enclave);
        world.event(exception(vector));
        let kind = if vector == 3 { 0x600 } else { 0x300 };
        let valid = 0x8000_0000 | kind | u32::from(vector);
        let always = told.contains(&vector);
        let expected = if always || vector == 13 || vector == 14 {
            valid
        } else {
            0
        };
        assert_eq!(
            world.gpr(&enclave, 0).exitinfo(),
            expected,
            "vector {vector}"
        );
        assert_eq!(
            world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
            Answer::Entered
        );
        world.leave();
        quiet.enter(&uninformed);
        quiet.event(exception(vector));
        let expected = if always { valid } else { 0 };
        assert_eq!(
            quiet.gpr(&uninformed, 0).exitinfo(),
            expected,
            "vector {vector}"
        );
        assert_eq!(
            quiet.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
            Answer::Entered
        );
        quiet.leave();
    }
    for (vector, control) in [
        (
            16,
            Control {
                fcw: 0x37E,
                fsw: 0x8081,
                mxcsr: 0x1FB0,
            },
        ),
        (
            19,
            Control {
                fcw: 0x37F,
                fsw: 0,
                mxcsr: 0x1F01,
            },
        ),
    ] {
        world.enter(&enclave);
        world.event(exception(vector));
        assert_eq!(world.machine.control, Some(control));
        assert_eq!(
            world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
            Answer::Entered
        );
        world.leave();
    }
}

#[test]
fn frames_nest_until_they_are_used_up() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    for depth in 0..2 {
        world.enter(&enclave);
        assert_eq!(world.processor.get(Register::Rax), depth);
        world.processor.set(Register::Rdx, 100 + depth);
        world.event(Event::Other);
    }
    world.refuses_user(Enclu::Eenter, [THREAD, AEP, 0], GP);
    for depth in [1, 0] {
        assert_eq!(
            world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
            Answer::Entered
        );
        assert_eq!(world.processor.get(Register::Rdx), 100 + depth);
        world.leave();
    }
    world.refuses_user(Enclu::Eresume, [THREAD, AEP, 0], GP);
}

#[test]
fn eresume_checks_what_it_restores() {
    let gpr = SSA + PAGE - Gprsgx::SIZE as u64;
    let wild = WILD.to_le_bytes().to_vec();
    let cases: [(u64, Vec<u8>); 8] = [
        (gpr + 136, wild.clone()),
        (gpr + 168, wild.clone()),
        (gpr + 176, wild),
        (SSA + 512, vec![8]),
        (SSA + 520, vec![1]),
        (SSA + 535, vec![1]),
        (SSA + 26, vec![1]),
        (SSA + 519, vec![0x80]),
    ];
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    world.enter(&enclave);
    world.event(Event::Other);
    for (offset, bytes) in cases {
        let before = world.inside(&enclave, offset, bytes.len()).to_vec();
        world.put_inside(&enclave, offset, &bytes);
        world.refuses_user(Enclu::Eresume, [THREAD, AEP, 0], GP);
        world.put_inside(&enclave, offset, &before);
    }
    // Flags that only the system may change stay as they are.
    let mine = world.processor.flags;
    world.put_inside(&enclave, gpr + 128, &u64::MAX.to_le_bytes());
    assert_eq!(
        world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
        Answer::Entered
    );
    let free = Flags::STATUS | Flags::DF | Flags::NT | Flags::AC | Flags::ID | Flags::RF;
    assert_eq!(world.processor.flags - free, mine - free - Flags::TF);
    assert!(world.processor.flags.contains(free));
}

/// Between the look at the TCS and taking it, the thread was inside on another core and was interrupted, elsewhere.
#[test]
fn what_another_core_has_changed_meanwhile_counts() {
    const CSSA: usize = 24;
    const RIP: usize = PAGE as usize - Gprsgx::SIZE + 136;
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let (tcs, frame) = (enclave.page(TCS), enclave.page(SSA));
    let is_left = |world: &World| {
        let state = world.inside(&enclave, TCS, 8).iter().all(|byte| *byte == 0);
        state && world.entry(enclave.secs).tracking().threads() == 0
    };
    let cssa = |value: u32| vec![(tcs, CSSA, value.to_le_bytes().to_vec())];
    let rip = |value: u64| vec![(frame, RIP, value.to_le_bytes().to_vec())];

    world.machine.meanwhile = cssa(1);
    assert_eq!(world.enclu(Enclu::Eenter, [THREAD, AEP, 0]), GP);
    assert!(is_left(&world));
    world.put_inside(&enclave, TCS + CSSA as u64, &[0]);
    world.enter(&enclave);
    world.event(Event::Other);

    world.machine.meanwhile = cssa(2);
    assert_eq!(world.enclu(Enclu::Eresume, [THREAD, AEP, 0]), GP);
    assert!(is_left(&world));
    world.put_inside(&enclave, TCS + CSSA as u64, &[1]);

    world.machine.meanwhile = rip(BASE + CODE + 5);
    let resumed = world.enclu(Enclu::Eresume, [THREAD, AEP, 0]);
    assert_eq!(resumed, Answer::Entered);
    assert_eq!(world.processor.rip, BASE + CODE + 5);
    world.event(Event::Other);
    world.machine.meanwhile = rip(WILD);
    assert_eq!(world.enclu(Enclu::Eresume, [THREAD, AEP, 0]), GP);
    assert!(is_left(&world));
}

/// An entry that is refused never has the TCS: the thread that is interrupted there may be resumed by another core at that moment, and must not
/// be refused for it.
#[test]
fn who_is_refused_does_not_get_in_the_way() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    world.enter(&enclave);
    world.event(Event::Other);
    world.enter(&enclave);
    world.event(Event::Other);
    // Seen when somebody takes the TCS.
    let mark = vec![(enclave.page(DATA), 0, vec![77])];
    world.machine.meanwhile = mark.clone();
    world.refuses_user(Enclu::Eenter, [THREAD, AEP, 0], GP);
    assert_eq!(world.machine.meanwhile, mark);
    world.map(BASE + SSA + PAGE, Target::Memory(0));
    let fault = epcm_fault(BASE + SSA + PAGE, true);
    world.refuses_user(Enclu::Eresume, [THREAD, AEP, 0], fault);
    assert_eq!(world.machine.meanwhile, mark);
    world.map(BASE + SSA + PAGE, Target::Epc(enclave.page(SSA + PAGE)));
    let resumed = world.enclu(Enclu::Eresume, [THREAD, AEP, 0]);
    assert_eq!(resumed, Answer::Entered);
    assert!(world.machine.meanwhile.is_empty(), "the control");
}

#[test]
fn a_thread_is_told_of_an_exit_and_goes_back_by_itself() {
    let mut world = World::new();
    let page = secs(PLAIN | attribute::AEXNOTIFY);
    // Flags of threads and of the enclave must agree.
    let mut other = World::new();
    other.enclave(PLAIN | attribute::AEXNOTIFY);
    other.refuses_user(Enclu::Eenter, [THREAD, AEP, 0], GP);

    let enclave = world.enclave_with(&page, |tcs| tcs.set_flags(2));
    world.enter(&enclave);
    let notify = SSA + PAGE - Gprsgx::SIZE as u64 + 167;
    world.put_inside(&enclave, notify, &[1]);
    world.processor.rip = BASE + 0x4444;
    world.processor.set(Register::Rdi, 0xD1);
    world.event(Event::Other);
    assert_eq!(
        world.inside(&enclave, notify, 1),
        [1],
        "the processor leaves it alone"
    );
    world.processor.next = 0x40_5003;
    assert_eq!(
        world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
        Answer::Entered
    );
    assert_eq!(world.processor.rip, BASE + CODE + 0x10, "at the entry");
    assert_eq!(world.processor.get(Register::Rax), 1);
    assert_eq!(world.processor.get(Register::Rcx), 0x40_5003);
    assert_eq!(world.processor.get(Register::Rdi), 0);
    assert_eq!(world.tcs_of(&enclave).cssa(), 1);
    assert_eq!(world.thread.expect("inside").gpr, enclave.page(SSA + PAGE));
    assert_eq!(world.gpr(&enclave, 0).rip(), BASE + 0x4444);
    // It gives the frame back, and the next exit uses it again.
    let flags_before = world.processor.flags;
    world.enclu(Enclu::Edeccssa, [0, 0, 0]);
    assert_eq!(world.processor.flags, flags_before);
    assert_eq!(world.tcs_of(&enclave).cssa(), 0);
    assert_eq!(world.thread.expect("inside").gpr, enclave.page(SSA));
    world.refuses_user(Enclu::Edeccssa, [0, 0, 0], GP);
    world.event(exception(6));
    assert_eq!(world.gpr(&enclave, 0).exitinfo(), 0x8000_0306);

    // Without a frame to spare it cannot be told.
    assert_eq!(
        world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
        Answer::Entered
    );
    world.event(Event::Other);
    world.put_inside(&enclave, notify + PAGE, &[1]);
    world.refuses_user(Enclu::Eresume, [THREAD, AEP, 0], GP);
    world.put_inside(&enclave, notify + PAGE, &[0]);
    assert_eq!(
        world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
        Answer::Entered
    );
}

#[test]
fn edeccssa_checks_the_frame_that_it_goes_back_to() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    world.refuses_user(Enclu::Edeccssa, [0, 0, 0], GP);
    world.enter(&enclave);
    world.event(Event::Other);
    world.enter(&enclave);
    let good = Target::Epc(enclave.page(SSA));
    world.map(BASE + SSA, Target::Epc(enclave.page(DATA)));
    world.refuses_user(Enclu::Edeccssa, [0, 0, 0], epcm_fault(BASE + SSA, true));
    world.map(BASE + SSA, good);
    let claim = world.entry(enclave.page(TCS)).claim();
    assert_eq!(world.enclu(Enclu::Edeccssa, [0, 0, 0]), GP);
    drop(claim);
    world.enclu(Enclu::Edeccssa, [0, 0, 0]);
    assert_eq!(world.tcs_of(&enclave).cssa(), 0);
}
