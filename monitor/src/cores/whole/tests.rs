//! What a core's state says about being offline, and who is told.

use adyton_x86::flags::INTERRUPT;

use super::*;
use crate::cores::tests::core_at;

const TOKEN: u64 = 7;

fn ask(core: &Core, token: u64, now: u64) -> Offline {
    // As if the kick were on its way: there is no APIC here.
    let _sent = core.attention.ask(0);
    core.is_offline(token, now, 100)
}

#[test]
fn who_waits_for_a_start_up_is_offline_and_taken_once() {
    let core = core_at(1, 1);
    assert_eq!(ask(&core, TOKEN, 0), Offline::Yes);
    assert!(core.take());
    assert!(!core.take());
    assert_eq!(ask(&core, TOKEN, 0), Offline::No, "somebody has it");
    core.give_back();
    assert_eq!(ask(&core, TOKEN, 0), Offline::Yes);
}

#[test]
fn the_first_core_and_one_that_never_came_up_are_not() {
    assert_eq!(ask(&core_at(0, 0), TOKEN, 0), Offline::No);
    let core = core_at(1, 1);
    core.started.store(false, Ordering::Relaxed);
    assert_eq!(ask(&core, TOKEN, 0), Offline::No);
}

#[test]
fn start_ups_do_not_reach_a_core_that_was_taken() {
    let core = core_at(1, 1);
    let _sent = core.attention.ask(0);
    assert!(core.take());
    for message in [park::Startup::Init, park::Startup::Start(9)] {
        core.send_startup(message);
        assert!(core.is_taken());
        assert!(!core.attention.is_asked(), "and do not disturb it");
    }
    core.send_nmi_to_domain0();
    assert!(!core.attention.is_asked());
    core.give_back();
    core.send_startup(park::Startup::Start(9));
    assert!(core.attention.is_asked(), "the control: now they do");
}

#[test]
fn a_question_is_answered_to_who_asked() {
    let core = core_at(1, 1);
    core.set_running();
    assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
    assert!(core.attention.take(OFFER));
    assert_eq!(ask(&core, TOKEN, 50), Offline::Asked);
    assert!(!core.attention.take(OFFER), "it was asked already");
    assert_eq!(ask(&core, 8, 50), Offline::Asked, "another waits");
    core.refuse_offer();
    assert_eq!(ask(&core, TOKEN, 60), Offline::No);
    assert_eq!(ask(&core, TOKEN, 60), Offline::Asked, "a new question");
    assert_eq!(ask(&core, TOKEN, 161), Offline::No, "too late");
}

#[test]
fn an_answer_that_nobody_fetched_is_nobody_elses() {
    let core = core_at(1, 1);
    core.set_running();
    assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
    core.refuse_offer();
    assert_eq!(ask(&core, 8, 1), Offline::Asked, "asked anew");
    assert_eq!(ask(&core, 8, 102), Offline::No);
}

#[test]
fn who_rests_for_good_is_offline_and_who_can_be_woken_is_not() {
    use crate::vcpu::Owner;
    let (on, off) = ((false, INTERRUPT), (true, INTERRUPT));
    let (on_masked, off_masked) = ((false, 0), (true, 0));
    for (rest, for_good, woken) in [
        (Rest::Halt, &[on_masked, off, off_masked][..], &[on][..]),
        (Rest::Wait, &[off, off_masked], &[on, on_masked]),
        (Rest::Port, &[off_masked], &[on, on_masked, off]),
        (Rest::Other, &[], &[on, on_masked, off, off_masked]),
    ] {
        let expected = for_good.iter().map(|state| (state, Offline::Yes));
        let others = woken.iter().map(|state| (state, Offline::No));
        for ((is_off, flags), expected) in expected.chain(others) {
            let core = core_at(1, 1);
            core.set_running();
            let vcpu = Vcpu::on_host(Owner::Domain0);
            assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
            vcpu.set_rflags(0);
            core.consider_offer(vcpu, *is_off);
            assert_eq!(core.watches_ports(), *is_off);
            vcpu.set_rflags(*flags);
            vcpu.set_rip(0x1000);
            core.rests_with(vcpu, rest, *is_off);
            assert!(!core.watches_ports());
            let state = (rest, is_off, flags);
            assert_eq!(ask(&core, TOKEN, 1), expected, "{state:?}");
            let skipped = rest == Rest::Halt && expected == Offline::No;
            let there = vcpu.rip() - 0x1000;
            assert_eq!(there, u64::from(skipped), "{state:?}");
        }
    }
}

#[test]
fn one_byte_read_may_be_a_rest_and_no_other_access() {
    let read = Io {
        port: 0x414,
        size: 1,
        input: true,
        string: false,
        repeat: false,
        next_rip: 0,
    };
    assert_eq!(Rest::of_port(read), Rest::Port);
    let others = [
        Io {
            input: false,
            ..read
        },
        Io { size: 2, ..read },
        Io {
            string: true,
            ..read
        },
    ];
    for access in others {
        assert_eq!(Rest::of_port(access), Rest::Other, "{access:?}");
    }
}

#[test]
fn who_has_interrupts_on_is_refused_at_once() {
    use crate::vcpu::Owner;
    let core = core_at(1, 1);
    core.set_running();
    let vcpu = Vcpu::on_host(Owner::Domain0);
    assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
    vcpu.set_rflags(INTERRUPT);
    core.consider_offer(vcpu, false);
    assert_eq!(ask(&core, TOKEN, 0), Offline::No);
    assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
    core.consider_offer(vcpu, true);
    assert_eq!(ask(&core, TOKEN, 0), Offline::Asked, "none reaches it");
}

#[test]
fn a_job_is_asked_to_end_and_known_again() {
    use crate::vcpu::Owner;
    let core = core_at(1, 1);
    let _sent = core.attention.ask(0);
    assert!(!core.end_job());
    let vcpu: *mut Vcpu = Vcpu::on_host(Owner::Domain);
    core.begin_job(vcpu);
    assert!(core.has_job() && core.runs(vcpu) && !core.must_end_job());
    assert!(core.end_job());
    assert!(core.runs(vcpu) && core.must_end_job());
}
