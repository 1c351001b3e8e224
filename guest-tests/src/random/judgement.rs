//! Whether random calls have led everywhere.

use adyton::abi::call::Call;
use adyton::abi::error::Error as Reason;
use adyton_player::Tally;
use anyhow::{Result, ensure};

/// What must not be missing among the answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Complete {
    /// Anything may be.
    No,
    /// What every machine gives.
    OnAnyMachine,
    /// What a whole machine gives.
    OnWholeMachine,
}

/// How often what came; what must not be missing is.
pub fn judge(tally: &Tally, complete: Complete) -> Result<()> {
    println!("{} calls, {} faults", tally.all(), tally.faults());
    let mut missing = Vec::new();
    for (call, tries, successes) in tally.calls() {
        println!("  {call:?}: {successes} of {tries}");
        let needs_whole_machine = matches!(
            call,
            Call::Quote
                | Call::EventLog
                | Call::EnclaveEvidence
                | Call::Key
                | Call::Counter
                | Call::Enrol
                | Call::CarveCore
                | Call::Start
                | Call::Assign
                | Call::Configure
        );
        let is_apart = needs_whole_machine && complete != Complete::OnWholeMachine;
        if tries == 0 || successes * 100 < tries && !is_apart {
            missing.push(format!("{call:?}"));
        }
    }
    // They need a core that does not answer, a monitor without memory, a TPM that refuses, a domain that was signed, or a function whose
    // surroundings change: tests of their own.
    let rare = [
        Reason::Quarantined,
        Reason::Exhausted,
        Reason::Tpm,
        Reason::Newer,
        Reason::Unassignable,
        Reason::Entangled,
    ];
    let elsewhere: &[Reason] = match complete {
        Complete::OnWholeMachine => &[Reason::Unmeasured, Reason::Unprotected],
        _ => &[Reason::Signature, Reason::NoCounter, Reason::NotDevice],
    };
    for (error, count) in tally.errors() {
        println!("  {error:?}: {count}");
        if count == 0 && !rare.contains(&error) && !elsewhere.contains(&error) {
            missing.push(format!("{error:?}"));
        }
    }
    let too_few = tally
        .calls()
        .map(|(_, _, successes)| successes)
        .sum::<u64>()
        < tally.all() / 10;
    ensure!(!too_few, "hardly a call was taken: they say little");
    ensure!(
        complete == Complete::No || missing.is_empty(),
        "missing: {missing:?}"
    );
    Ok(())
}
