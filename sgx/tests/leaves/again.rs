//! Entries by a precedent: what EENTER would do, or nothing.

use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::platform::attribute;
use adyton_sgx::structures::tcs_flags;
use adyton_sgx::{Access, EpcPage, Event, Flags, Machine, Precedent, Register, Thread, exit_to};

use crate::build::WILD;
use crate::enter::THREAD;
use crate::support::enclave::{AEP, Enclave, OUTSIDE, PLAIN, SSA, TCS};
use crate::support::machine::{Restricts, Target};
use crate::support::world::{Answer, OK, World, epc};

/// An entry to be repeated: what the world made of it, and XCR0 then.
pub struct Noted {
    pub precedent: Precedent<'static, EpcPage>,
    xcr0: u64,
}

impl World {
    /// EENTER by the TCS at an address; if it succeeds and can be repeated, how.
    pub fn enter_noting(&mut self, address: u64) -> (Answer, Option<Noted>) {
        let restrictions = self.machine.restrictions();
        let answer = self.enclu(Enclu::Eenter, [address, AEP, 0]);
        let precedent = self
            .thread
            .as_ref()
            .and_then(|thread| Precedent::of(&self.machine, thread, &self.processor, restrictions));
        let xcr0 = self.thread.map_or(0, |thread| thread.xcr0);
        (answer, precedent.map(|precedent| Noted { precedent, xcr0 }))
    }

    /// Whether registers and tables are what they were, which is for the machine to say.
    pub fn is_like(&mut self, noted: &Noted) -> bool {
        let mode = self.machine.mode;
        self.machine.mode.privilege = 3;
        let thread = noted.precedent.thread();
        let pages = noted.precedent.frame_pages();
        let tables = pages
            .chain([(thread.tcs_address, thread.tcs)])
            .all(|(address, page)| self.machine.epc_page(address, Access::Write) == Ok(Some(page)));
        self.machine.mode = mode;
        tables && self.processor.xcr0 == noted.xcr0 && !self.processor.flags.contains(Flags::TF)
    }

    /// Enters by the precedent, out again, and by EENTER: both must have done the same. `false`: the precedent did nothing.
    pub fn repeat(&mut self, noted: &Noted) -> bool {
        let precedent = &noted.precedent;
        let before = self.snapshot();
        let stack = [Register::Rsp, Register::Rbp].map(|register| self.processor.get(register));
        let Some(epoch) = precedent.enter(&mut self.machine, AEP, stack) else {
            assert_eq!(self.snapshot(), before);
            return false;
        };
        let entered = self.snapshot();
        let thread = Thread {
            epoch,
            ..*precedent.thread()
        };
        assert_eq!(exit_to(&mut self.machine, &thread, WILD), None);
        assert_eq!(self.snapshot(), entered);
        assert_eq!(exit_to(&mut self.machine, &thread, OUTSIDE), Some(AEP));
        let operands = [thread.tcs_address, AEP, 0];
        assert_eq!(self.enclu(Enclu::Eenter, operands), Answer::Entered);
        let whole = self.thread.take().expect("inside");
        assert_eq!(self.snapshot(), entered);
        self.thread = Some(whole);
        let (fs, gs) = (whole.fs, whole.gs);
        assert_eq!(Thread { fs, gs, ..thread }, whole);
        let told = (precedent.target, u64::from(precedent.frame()));
        assert_eq!(
            (self.processor.rip, self.processor.get(Register::Rax)),
            told
        );
        true
    }

    /// An enclave that was entered and left, and how.
    fn entered(&mut self) -> (Enclave, Noted) {
        let enclave = self.enclave(PLAIN);
        let (answer, noted) = self.enter_noting(THREAD);
        assert_eq!(answer, Answer::Entered);
        self.leave();
        (enclave, noted.expect("a plain thread"))
    }
}

/// An entry for which the thread is not as it was never has the TCS: the thread that is interrupted there may be resumed by another core at that
/// moment.
#[test]
fn what_does_not_repeat_does_not_get_in_the_way() {
    let mut world = World::new();
    let (enclave, noted) = world.entered();
    world.enter(&enclave);
    world.event(Event::Other);
    // Seen when somebody takes the TCS.
    let mark = vec![(enclave.page(SSA), 0, vec![77])];
    world.machine.meanwhile = mark.clone();
    let enter = |world: &mut World| noted.precedent.enter(&mut world.machine, AEP, [0, 0]);
    assert_eq!(enter(&mut world), None);
    assert_eq!(world.machine.meanwhile, mark);
    world.machine.meanwhile.clear();
    let resumed = world.enclu(Enclu::Eresume, [THREAD, AEP, 0]);
    assert_eq!(resumed, Answer::Entered);
    world.leave();
    world.machine.meanwhile = mark;
    assert!(enter(&mut world).is_some());
    assert!(world.machine.meanwhile.is_empty(), "the control");
}

#[test]
fn an_entry_is_repeated_as_often_as_nothing_changes() {
    let mut world = World::new();
    let (_, noted) = world.entered();
    for round in 0..3 {
        world.processor.general[4] = 0x7000 + round;
        assert!(world.is_like(&noted) && world.repeat(&noted));
        world.leave();
    }
    // An asynchronous exit uses the frame; when it is free again all is as it was.
    world.enclu(Enclu::Eenter, [THREAD, AEP, 0]);
    world.event(Event::Other);
    assert!(!world.repeat(&noted), "the next frame is another");
    assert_eq!(
        world.enclu(Enclu::Eresume, [THREAD, AEP, 0]),
        Answer::Entered
    );
    world.leave();
    assert!(world.repeat(&noted));
}

#[test]
fn whatever_changes_ends_it() {
    type Change = fn(&mut World, &Enclave);
    let changes: [(&str, Change); 7] = [
        ("FLAGS", |world, enclave| {
            let flags = tcs_flags::DBGOPTIN.to_le_bytes();
            world.put_inside(enclave, TCS + 8, &flags);
        }),
        ("CSSA", |world, enclave| {
            world.put_inside(enclave, TCS + 24, &[1])
        }),
        ("STATE", |world, enclave| {
            world.put_inside(enclave, TCS, &[1])
        }),
        ("a page restricted", |world, enclave| {
            assert_eq!(
                world.change(Encls::Emodpr, enclave.page(SSA), 1 | 2 << 8),
                OK
            );
        }),
        ("the TCS blocked", |world, enclave| {
            assert_eq!(
                world.encls(Encls::Eblock, [0, epc(enclave.page(TCS)), 0]),
                OK
            );
        }),
        ("another page blocked", |world, enclave| {
            assert_eq!(
                world.encls(Encls::Eblock, [0, epc(enclave.page(SSA)), 0]),
                OK
            );
        }),
        ("the CSSA just before the TCS is taken", |world, enclave| {
            world.machine.meanwhile = vec![(enclave.page(TCS), 24, vec![1])];
        }),
    ];
    for (what, change) in changes {
        let mut world = World::new();
        let (enclave, noted) = world.entered();
        change(&mut world, &enclave);
        let threads = world.entry(enclave.secs).tracking().threads();
        let state = world.tcs_of(&enclave).state();
        let entered = noted.precedent.enter(&mut world.machine, AEP, [0; 2]);
        assert_eq!(entered, None, "{what}");
        assert_eq!(world.entry(enclave.secs).tracking().threads(), threads);
        assert_eq!(world.tcs_of(&enclave).state(), state, "{what}");
        assert!(world.entry(enclave.page(TCS)).is_unclaimed());
    }
}

#[test]
fn what_is_taken_away_while_a_thread_is_counted_is_seen() {
    let mut world = World::new();
    let (enclave, noted) = world.entered();
    world.machine.restricts.set(Restricts::AfterALook);
    assert_eq!(noted.precedent.enter(&mut world.machine, AEP, [0; 2]), None);
    assert_eq!(world.entry(enclave.secs).tracking().threads(), 0);
    assert_eq!(world.tcs_of(&enclave).state(), 0);
}

#[test]
fn nobody_enters_a_page_that_another_works_on() {
    let mut world = World::new();
    let (enclave, noted) = world.entered();
    let claim = world.entry(enclave.page(TCS)).claim();
    assert_eq!(noted.precedent.enter(&mut world.machine, AEP, [0; 2]), None);
    drop(claim);
    assert_eq!(
        noted.precedent.enter(&mut world.machine, WILD, [0; 2]),
        None
    );
    assert!(world.repeat(&noted));
    assert_eq!(
        noted.precedent.enter(&mut world.machine, AEP, [0; 2]),
        None,
        "twice"
    );
}

#[test]
fn only_plain_entries_are_precedents() {
    // Stepped.
    let mut world = World::new();
    world.enclave(PLAIN);
    world.processor.flags |= Flags::TF;
    assert!(matches!(
        world.enter_noting(THREAD),
        (Answer::Entered, None)
    ));
    // Debugged.
    let mut world = World::new();
    let enclave = world.enclave(PLAIN | attribute::DEBUG);
    world.put_inside(&enclave, TCS + 8, &[tcs_flags::DBGOPTIN as u8]);
    assert!(matches!(
        world.enter_noting(THREAD),
        (Answer::Entered, None)
    ));
    // Flags that were changed after EENTER had looked at them.
    let mut world = World::new();
    let (enclave, _) = world.entered();
    let restrictions = world.machine.restrictions();
    world.enter(&enclave);
    world.put_inside(&enclave, TCS + 8, &[tcs_flags::AEXNOTIFY as u8]);
    let thread = world.thread.expect("inside");
    let found = Precedent::of(&world.machine, &thread, &world.processor, restrictions);
    assert!(found.is_none());
    // 32-bit.
    let mut world = World::new();
    let (enclave, _) = world.entered();
    world.enter(&enclave);
    world.machine.mode.long = false;
    let thread = world.thread.expect("inside");
    let found = Precedent::of(&world.machine, &thread, &world.processor, 0);
    assert!(found.is_none());
}

#[test]
fn the_pages_of_the_frame_are_named_with_their_addresses() {
    let mut world = World::new();
    let (enclave, noted) = world.entered();
    let first = (enclave.base + SSA, enclave.page(SSA));
    let pages: Vec<_> = noted.precedent.frame_pages().collect();
    assert_eq!(pages, [first, first]);
    world.map(first.0, Target::Memory(0));
    assert!(!world.is_like(&noted));
}
