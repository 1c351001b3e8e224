//! Lines that say what a long step does and how long it took.
//!
//! Steps that find nothing to do never call this, so that the second time is silent. Everything
//! goes to standard error: standard output belongs to results and to the guest.

use std::time::Instant;

/// Runs `work` between a line that announces it and one that says how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    eprintln!("-- {what} ...");
    let result = work();
    eprintln!("-- {what}: {:.1} s", started.elapsed().as_secs_f64());
    result
}
