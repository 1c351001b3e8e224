//! What a monitor under test does when asked: look at itself, and misbehave.
//!
//! Only in a build with the feature `selfcheck`, which no shipped monitor has. Attacks on the monitor need to know
//! afterwards whether it still agrees with itself ([`audit`]), and need controls: the same attack with the protection off must
//! succeed, or the test says nothing. So a test may have flushes forgotten, a core not answer, or the monitor panic or use up its stack.

mod audit;

use core::sync::atomic::{AtomicBool, Ordering};

use adyton_abi::error::Error;

use crate::instructions::time_stamp;

static FORGETS_FLUSHES: AtomicBool = AtomicBool::new(false);

/// Looks at everything: `audit::Findings` as words.
const AUDIT: u64 = 0;
/// Panics.
const PANIC: u64 = 1;
/// Holds this core in the monitor for as many ticks as the argument says.
const STALL: u64 = 2;
/// From now on flushes are forgotten (1) or done (0).
const FORGET_FLUSHES: u64 = 3;
/// Calls itself until the stack is used up.
const USE_UP_STACK: u64 = 4;
/// How deep stacks have been used: [`cores::depth::deepest`].
const STACK_DEPTH: u64 = 5;
/// Looks at the EPCM: kind of what is wrong (0: nothing) and the page, or the pages in use, enclaves and threads inside.
const AUDIT_ENCLAVES: u64 = 6;
/// Keeps a claim on the page of the EPC before the one that the argument says; 0 gives it back.
const HOLD_PAGE: u64 = 7;

/// Whether a flush of other cores is left out: the control of tests that attack by stale translations.
#[must_use]
pub fn forgets_flushes() -> bool {
    FORGETS_FLUSHES.load(Ordering::Relaxed)
}

/// Does what `what` says.
///
/// # Errors
/// `Invalid` where there is no such thing.
///
/// # Panics
/// If that is what is asked.
pub fn perform(what: u64, argument: u64) -> Result<[u64; 4], Error> {
    match what {
        AUDIT => Ok(audit::everything().words()),
        PANIC => panic!("as the self-check was asked to"),
        STALL => {
            let begin = time_stamp();
            while time_stamp().saturating_sub(begin) < argument {
                core::hint::spin_loop();
            }
            Ok([0; 4])
        }
        FORGET_FLUSHES => {
            FORGETS_FLUSHES.store(argument != 0, Ordering::Relaxed);
            Ok([0; 4])
        }
        USE_UP_STACK => Ok([deeper(u64::MAX), 0, 0, 0]),
        STACK_DEPTH => Ok(stack_depth()),
        AUDIT_ENCLAVES => audit::enclaves(),
        HOLD_PAGE => audit::hold(argument),
        _ => Err(Error::Invalid),
    }
}

/// Calls itself so many times.
#[inline(never)]
fn deeper(calls: u64) -> u64 {
    let frame = core::hint::black_box([calls; 32]);
    match calls {
        0 => 0,
        _ => deeper(calls - 1) ^ frame[0],
    }
}

#[cfg(not(any(test, fuzzing)))]
fn stack_depth() -> [u64; 4] {
    let [boot, core, size] = crate::cores::depth::deepest();
    [boot, core, size, 0]
}

/// The host's stacks are its own affair.
#[cfg(any(test, fuzzing))]
const fn stack_depth() -> [u64; 4] {
    [0; 4]
}
