//! Reports for whoever executes SGX: a target that no enclave is.

use adyton_sgx::platform::attribute;
use adyton_sgx::report::is_genuine;
use adyton_sgx::structures::{Report, Targetinfo};

use crate::report::{REPORT, cmac, request, target};
use crate::support::enclave::PLAIN;
use crate::support::machine::secrets;
use crate::support::world::{World, capabilities};

fn nobody() -> Targetinfo {
    let mut target = Targetinfo::zeroed();
    target.set_measurement(b"nobody has this as a measurement");
    target
}

fn is_ours(report: &Report, target: &Targetinfo) -> bool {
    is_genuine(&secrets(7), target, report)
}

#[test]
fn every_flipped_bit_of_a_report_is_noticed() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    world.enter(&enclave);
    let report = world.report(&enclave, &nobody());
    assert!(is_ours(&report, &nobody()));
    for bit in 0..Report::SIZE * 8 {
        let mut forged = report.clone();
        forged.0[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_ours(&forged, &nobody()), "bit {bit}");
    }
}

/// For another target, from another machine, from another boot.
#[test]
fn a_report_for_somebody_else_is_refused() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    world.enter(&enclave);
    let own = target(&world.identity(&enclave));
    let mut unlike = nobody();
    unlike.set_configsvn(1);
    for other in [own, unlike, Targetinfo::zeroed()] {
        let report = world.report(&enclave, &other);
        assert!(!is_ours(&report, &nobody()));
    }
    let report = world.report(&enclave, &nobody());
    let mut later = secrets(7);
    later.report_key_id[0] ^= 1;
    assert!(!is_genuine(&later, &nobody(), &report), "another boot");
    let mut replayed = report.clone();
    replayed.set_keyid(&later.report_key_id);
    assert!(!is_genuine(&later, &nobody(), &replayed));
    let mut elsewhere = World::with(64, 8, capabilities());
    let twin = elsewhere.enclave(PLAIN);
    elsewhere.enter(&twin);
    let foreign = elsewhere.report(&twin, &nobody());
    assert_eq!(foreign.mrenclave(), report.mrenclave());
    assert!(!is_ours(&foreign, &nobody()), "another machine");
    assert!(is_ours(&report, &nobody()));
}

/// What an enclave can do with all the report keys that it gets: nothing.
#[test]
fn an_enclave_cannot_make_one_itself() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    world.enter(&enclave);
    let mut forged = world.report(&enclave, &nobody());
    forged.set_isvsvn(99);
    let mut wanted = request(REPORT);
    wanted.set_keyid(forged.keyid());
    let key = world.key(&enclave, &wanted).expect("its own key");
    forged.set_mac(&cmac(key, forged.body()));
    assert!(!is_ours(&forged, &nobody()));
    // With the same key it could answer for a target that has its measurement and its attributes: so that is refused.
    let own = target(&world.identity(&enclave));
    assert_eq!(
        u64::from(own.attributes()[0]) & attribute::INIT,
        attribute::INIT
    );
    let report = world.report(&enclave, &own);
    assert_eq!(
        report.mac(),
        &cmac(key, report.body()),
        "the key is the right one"
    );
    assert!(!is_ours(&report, &own));
}
