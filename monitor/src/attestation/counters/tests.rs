//! Counters in a TPM that is not ours, and what another system on the same machine does to them.

use super::*;
use crate::tpm::emulator::Emulator;

const HOLDER: Hash = [3; 32];

fn platform() -> PlatformKey {
    PlatformKey::new(&[9; 32])
}

/// Carries out a wish as the desk does.
fn wish(tpm: &mut Emulator, wish: Wish, number: u32) -> Result<u64, TpmError> {
    let mut errand = Errand::new(wish, number, HOLDER, &platform());
    loop {
        let answer = tpm.exchange(&errand.command());
        let answer: Message = answer.into_iter().collect();
        if errand.answered(&answer)? {
            return Ok(storage::count(&answer).unwrap_or_default());
        }
    }
}

fn found(tpm: &mut Emulator, platform: &PlatformKey) -> Slot {
    let slots = find(tpm, platform).unwrap();
    assert!(slots.0[1..].iter().all(|slot| *slot == Slot::Free));
    slots.0[0]
}

#[test]
fn a_counter_counts_through_reboots() {
    let mut tpm = Emulator::new("counting");
    assert_eq!(found(&mut tpm, &platform()), Slot::Free);
    assert!(wish(&mut tpm, Wish::Read, 0).is_err());
    let first = wish(&mut tpm, Wish::Create, 0).unwrap();
    assert!(wish(&mut tpm, Wish::Create, 0).is_err());
    for step in 1..4 {
        assert_eq!(wish(&mut tpm, Wish::Increment, 0), Ok(first + step));
        tpm.restart();
        assert_eq!(found(&mut tpm, &platform()), Slot::Held(HOLDER));
        assert_eq!(wish(&mut tpm, Wish::Read, 0), Ok(first + step));
    }
    assert!(wish(&mut tpm, Wish::Destroy, 0).is_ok());
    assert_eq!(found(&mut tpm, &platform()), Slot::Free);
    assert!(wish(&mut tpm, Wish::Create, 0).unwrap() > first + 3);
}

#[test]
fn no_other_system_sets_one_back() {
    let mut tpm = Emulator::new("set-back");
    let first = wish(&mut tpm, Wish::Create, 0).unwrap();
    let last = wish(&mut tpm, Wish::Increment, 0).unwrap();
    let place = handle::COUNTERS;
    // Without the password it neither counts nor reads.
    assert!(!tpm.tool(&format!("tpm2_nvincrement -Q -C {place:#x} {place:#x}")));
    assert!(!tpm.tool(&format!("tpm2_nvincrement -Q -C o {place:#x}")));
    assert!(!tpm.tool(&format!("tpm2_nvread -Q -C o {place:#x}")));
    // It deletes it, and makes one with the same public part: that knows another password.
    std::fs::write(tpm.path("holder"), HOLDER).unwrap();
    let undefine = format!("tpm2_nvundefine -Q -C o {place:#x}");
    let attributes = "authread|authwrite|no_da|nt=counter";
    let define =
        format!("tpm2_nvdefine -Q -C o {place:#x} -s 8 -L holder -a {attributes} -p known");
    assert!(tpm.tool(&undefine) && tpm.tool(&define));
    assert!(tpm.tool(&format!(
        "tpm2_nvincrement -Q -C {place:#x} -P known {place:#x}"
    )));
    let name = Index::counter(0, HOLDER).written().encode();
    let public = tpm.run(&storage::read_public(place), |answer| {
        Ok(storage::public(answer)? == name.as_slice())
    });
    assert_eq!(
        public,
        Ok(true),
        "the forgery is not the one that was meant"
    );
    assert_eq!(found(&mut tpm, &platform()), Slot::Foreign);
    assert!(wish(&mut tpm, Wish::Read, 0).is_err());
    // An ordinary index that says what one likes is no counter.
    assert!(tpm.tool(&undefine));
    let attributes = "authread|authwrite|no_da";
    assert!(tpm.tool(&format!(
        "tpm2_nvdefine -Q -C o {place:#x} -s 8 -L holder -a {attributes}"
    )));
    std::fs::write(tpm.path("value"), first.to_be_bytes()).unwrap();
    assert!(tpm.tool(&format!(
        "tpm2_nvwrite -Q -C {place:#x} {place:#x} -i value"
    )));
    assert_eq!(found(&mut tpm, &platform()), Slot::Foreign);
    // What takes its place begins above.
    assert!(tpm.tool(&undefine));
    assert_eq!(found(&mut tpm, &platform()), Slot::Free);
    assert!(wish(&mut tpm, Wish::Create, 0).unwrap() > last);
}

#[test]
fn with_another_secret_it_is_nobodys() {
    let mut tpm = Emulator::new("other-secret");
    wish(&mut tpm, Wish::Create, 0).unwrap();
    assert_eq!(found(&mut tpm, &PlatformKey::new(&[8; 32])), Slot::Foreign);
    assert_eq!(found(&mut tpm, &platform()), Slot::Held(HOLDER));
}

#[test]
fn one_that_was_not_finished_is_taken_away() {
    let mut tpm = Emulator::new("half");
    let errand = Errand::new(Wish::Create, 0, HOLDER, &platform());
    tpm.exchange(&errand.command());
    tpm.restart();
    assert_eq!(found(&mut tpm, &platform()), Slot::Free);
    assert!(wish(&mut tpm, Wish::Create, 0).is_ok());
}

#[test]
fn one_that_cannot_be_taken_away_is_nobodys() {
    let mut tpm = Emulator::new("stuck");
    let errand = Errand::new(Wish::Create, 0, HOLDER, &platform());
    tpm.exchange(&errand.command());
    // The owner has set a password, so nobody else takes anything away.
    assert!(tpm.tool("tpm2_changeauth -Q -c owner known"));
    assert_eq!(found(&mut tpm, &platform()), Slot::Foreign);
    assert!(tpm.tool("tpm2_changeauth -Q -c owner -p known"));
    assert_eq!(found(&mut tpm, &platform()), Slot::Free);
}

#[test]
fn places_are_found() {
    let mut slots = Slots([Slot::Free; LIMIT]);
    slots.set(0, Slot::Held([1; 32]));
    slots.set(2, Slot::Held(HOLDER));
    assert_eq!((slots.vacancy(), slots.of(&HOLDER)), (Ok(1), Some(2)));
    assert_eq!(slots.of(&[4; 32]), None);
    assert_eq!(slots.get(LIMIT as u64), None);
    // The counter of somebody who would then have two.
    slots.set(2, Slot::Foreign);
    assert_eq!(slots.vacancy(), Err(NoPlace::Foreign));
    (0..LIMIT as u32).for_each(|number| slots.set(number, Slot::Held([1; 32])));
    assert_eq!(slots.vacancy(), Err(NoPlace::Full));
}
