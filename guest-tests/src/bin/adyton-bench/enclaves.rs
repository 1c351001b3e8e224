//! What entering an enclave costs.

use std::hint::black_box;

use adyton::Linux;
use adyton_guest_tests::enclave::code::{self, Command, Leaf, enter, enter_by_vdso};
use adyton_guest_tests::enclave::driver::Enclave;
use adyton_guest_tests::enclave::image::Attributes;
use adyton_guest_tests::enclave::{image, place};
use anyhow::{Context, Result, ensure};

use super::meter::{counter, median, now, report_instructions};

const ROUNDS: usize = 1001;
/// Rounds with an interrupt each.
const ROUNDS_INTERRUPTED: usize = 51;
/// Steps that an enclave counts meanwhile, of three instructions: longer than the time between two interrupts.
const STAY: u64 = 2_000_000;
/// The monitor's counter of exits by interrupts, which come in enclave mode only.
const INTERRUPTS: u64 = 6;

/// EENTER and EEXIT: by ENCLU alone, by the vDSO, and by the vDSO with an enclave that touches eight pages inside and two outside.
pub fn enclaves() -> Result<()> {
    let enclave = Enclave::load(&image(Attributes::PLAIN))?;
    let tcs = enclave.page(place::TCS);
    let function = code::vdso_function().context("the vDSO's function")?;
    let (inside, outside) = (enclave.page(place::DATA), Box::new([7_u64; 1024]));
    let outside = black_box(&outside)[512..].as_ptr() as u64;
    let touch = Command::TouchEight as u64;
    report_instructions(
        "sgx-enter",
        typical(|| enter(tcs, Command::Add, 1, 2) == 3)?,
    );
    let add = Command::Add as u64;
    let by_vdso = || enter_by_vdso(function, tcs, Leaf::Enter, add, [1, 2]).result == 3;
    report_instructions("sgx-enter-by-vdso", typical(by_vdso)?);
    let touching = || {
        let entered = enter_by_vdso(function, tcs, Leaf::Enter, touch, [inside, outside]);
        entered.result == 36 + 7
    };
    report_instructions("sgx-enter-touching-10-pages", typical(touching)?);
    // The same, each right after a stay that interrupts have broken.
    let place = Linux::without_memory()?;
    let counter_word = enclave.page(place::DATA) + 64;
    let count = Command::Count as u64;
    let mut all = Vec::with_capacity(ROUNDS_INTERRUPTED);
    for _ in 0..ROUNDS_INTERRUPTED {
        let before = counter(&place, INTERRUPTS)?;
        enter_by_vdso(function, tcs, Leaf::Enter, count, [STAY, counter_word]);
        ensure!(counter(&place, INTERRUPTS)? > before, "no interrupt came");
        let begin = now();
        let succeeded = touching();
        all.push(now() - begin);
        ensure!(succeeded, "an entry came to something else");
    }
    report_instructions(
        "sgx-enter-touching-10-pages-interrupted-before",
        median(all),
    );
    Ok(())
}

/// The median over many rounds, of which each must succeed: those that an interrupt came into are above it.
fn typical(mut round: impl FnMut() -> bool) -> Result<u64> {
    let mut all = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begin = now();
        let succeeded = round();
        all.push(now() - begin);
        ensure!(succeeded, "an entry came to something else");
    }
    Ok(median(all))
}
