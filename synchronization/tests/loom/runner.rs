//! Runs a model with each kind of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use adyton_synchronization::atomic::{Memory, with};
use loom::model::Builder;

/// Steps of one execution; more means that somebody waits for ever.
const BRANCHES: usize = 4_000;

/// All executions, or those with at most so many preemptions.
pub type Bound = Option<usize>;

/// Checks `model` with both kinds of memory and prints how many executions that took.
pub fn check(name: &str, bound: Bound, model: impl Fn() + Send + Sync + Clone + 'static) {
    for memory in [Memory::FenceBefore, Memory::FenceBehind] {
        let executions = run(memory, bound, model.clone());
        println!("{name}: {executions} executions, {memory:?}, at most {bound:?} preemptions");
    }
}

/// Checks `model` with one kind of memory.
pub fn run(memory: Memory, bound: Bound, model: impl Fn() + Send + Sync + 'static) -> u64 {
    let executions = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&executions);
    let mut builder = Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = BRANCHES;
    with(memory, || {
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            model();
        });
    });
    executions.load(Ordering::Relaxed)
}
