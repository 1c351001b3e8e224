//! Tests and measurements of the monitor, from programs in domain 0.
//!
//! A test is a function in one of the rooms; it fails by an error. [`fixture`] is what most of them begin with.
#![deny(unsafe_code)]

mod attack;
pub mod attempt;
mod beforehand;
mod calls;
pub mod device;
pub mod enclave;
mod entering;
pub mod evidence;
mod exits;
pub mod fixture;
mod instruction;
mod interrupts;
pub mod kept;
mod kernel_attack;
pub mod kernel_mode;
mod leaks;
mod lifetime;
pub mod machine;
pub mod measured;
pub mod nesting;
mod owners;
mod paging;
mod process;
mod random;
pub mod raw;
pub mod registers;
mod rogue;
pub mod second_kernel;
pub mod secret;
mod sharing;
pub mod signed;
mod stale;
mod startup;
mod whole_core;

use anyhow::Result;

/// A test: its name, and what it does.
pub type Test = (&'static str, fn() -> Result<()>);

/// Tests that need more than any machine has: a device, a kernel of which they alone have changed a module, the monitor under test.
pub fn demanding_tests() -> impl Iterator<Item = Test> {
    let rooms = [
        device::TESTS,
        random::TESTS,
        rogue::TESTS,
        leaks::TESTS,
        paging::TESTS,
        owners::TESTS,
        stale::TESTS,
        interrupts::TESTS,
        second_kernel::TESTS,
    ];
    let rooms = rooms.into_iter().flatten().copied();
    rooms.chain(enclave::tests()).chain(whole_core::tests())
}

/// Every test that runs on any machine.
pub fn tests() -> impl Iterator<Item = Test> {
    let rooms = [
        calls::TESTS,
        instruction::TESTS,
        entering::TESTS,
        exits::TESTS,
        sharing::TESTS,
        nesting::TESTS,
        attack::TESTS,
        kernel_attack::TESTS,
        lifetime::TESTS,
        beforehand::TESTS,
        process::TESTS,
    ];
    let rooms = rooms.into_iter().flatten().copied();
    rooms.chain(evidence::tests())
}
