//! What entering an enclave costs, and the instructions that build enclaves and move their pages.

use std::hint::black_box;

use adyton::Linux;
use adyton_guest_tests::enclave::code::{self, Command, Leaf, enter, enter_by_vdso};
use adyton_guest_tests::enclave::driver::Enclave;
use adyton_guest_tests::enclave::image::Attributes;
use adyton_guest_tests::enclave::instructions::{self, Costs};
use adyton_guest_tests::enclave::program::Program;
use adyton_guest_tests::enclave::program::agreement::work;
use adyton_guest_tests::enclave::{image, place};
use anyhow::{Context, Result, ensure};

use super::meter::{counter, median, now, report_instructions};

const ROUNDS: usize = 1001;
/// Bytes of memory of a program that needs next to none.
const MEMORY: u64 = 64 << 10;
/// Rounds with an interrupt each.
const ROUNDS_INTERRUPTED: usize = 51;
/// Steps that an enclave counts meanwhile, of three instructions: longer than the time between two interrupts.
const STAY: u64 = 2_000_000;
/// The monitor's counter of exits by interrupts, which come in enclave mode only.
const INTERRUPTS: u64 = 6;

/// EENTER and EEXIT: by ENCLU alone, by the vDSO, and by the vDSO with an enclave that touches eight pages inside and two outside.
pub fn enclaves() -> Result<()> {
    // While the driver has all of the EPC free.
    instructions()?;
    entering()?;
    calls()?;
    interruption()
}

fn entering() -> Result<()> {
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

/// What building an enclave costs for each page, and moving a page out and in again: the instructions alone, without the driver.
fn instructions() -> Result<()> {
    let costs = instructions::costs()?;
    let of = |cost: fn(&Costs) -> u64| median(costs.iter().map(cost).collect());
    report_instructions("eadd", of(|costs| costs.add));
    report_instructions("eextend-16", of(|costs| costs.extend));
    report_instructions("eadd-and-16-eextend", of(|costs| costs.add + costs.extend));
    report_instructions("eblock", of(|costs| costs.block));
    report_instructions("ewb", of(|costs| costs.write_back));
    report_instructions("eldu", of(|costs| costs.load));
    report_instructions("ewb-and-eldu", of(|costs| costs.write_back + costs.load));
    Ok(())
}

/// An ecall, and an ocall: a program goes in and comes back, and asks its host from inside again and again.
fn calls() -> Result<()> {
    const OCALLS: u64 = 100;
    let mut program = Program::inside(MEMORY)?;
    let mut ticks = |work, count| -> Result<u64> {
        let mut all = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let begin = now();
            program.run(work, [count, 0, 0])?;
            all.push(now() - begin);
        }
        Ok(median(all))
    };
    let ecall = ticks(work::NOTHING, 0)?;
    let many = ticks(work::ASK, OCALLS)?;
    report_instructions("ecall", ecall);
    report_instructions("ocall", many.saturating_sub(ecall) / OCALLS);
    Ok(())
}

/// AEX and ERESUME: by how much longer an interrupt of the machine's keeps a program from its next instruction when it is in an enclave.
fn interruption() -> Result<()> {
    let inside = interrupted(Program::inside(MEMORY)?)?;
    let outside = interrupted(Program::outside(MEMORY)?)?;
    report_instructions("interrupt-inside", inside);
    report_instructions("interrupt-outside", outside);
    report_instructions("aex-and-eresume", inside.saturating_sub(outside));
    Ok(())
}

/// How long an interrupt keeps this program.
fn interrupted(mut program: Program) -> Result<u64> {
    const INTERRUPTS: usize = 501;
    let place = program.run(work::INTERRUPTIONS, [INTERRUPTS as u64, 0, 0])?;
    Ok(median(program.shown(place, INTERRUPTS)?.to_vec()))
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
