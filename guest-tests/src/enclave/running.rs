//! Enclaves run: by ENCLU directly, by the vDSO, through interrupts and exceptions.

use std::process::Command as Program;

use adyton_evidence::files::hexadecimal;
use anyhow::{Context, Result, ensure};

use super::code::{self, Command, Leaf, enter, enter_by_vdso};
use super::driver::Enclave;
use super::image::{Attributes, PAGE};
use super::{image, place, signature};

pub(crate) const TESTS: &[crate::Test] = &[
    ("enclave-initializes", initializes),
    ("enclave-runs", runs),
    ("enclave-is-interrupted", is_interrupted),
    ("enclave-exceptions", exceptions),
    ("enclave-listed", listed),
];

/// EINIT accepts what was measured, and nothing else.
fn initializes() -> Result<()> {
    let image = image(Attributes::PLAIN);
    Enclave::load(&image)?;
    let other = Enclave::build(&image)?;
    let mut measurement = image.measurement();
    measurement[5] ^= 1;
    let signed = signature::sign(&measurement, image.attributes);
    ensure!(
        other.initialize(&signed).is_err(),
        "an enclave that is not the signed one was accepted"
    );
    Ok(())
}

fn runs() -> Result<()> {
    let enclave = Enclave::load(&image(Attributes::PLAIN))?;
    let tcs = enclave.page(place::TCS);
    ensure!(enter(tcs, Command::Add, 40, 2) == 42, "a sum");
    for page in 0..place::DATA_PAGES {
        let address = enclave.page(place::DATA + page);
        let word = enter(tcs, Command::Load, address + 8, 0);
        ensure!(word == page + 1, "page {page} holds {word:#x}");
        enter(tcs, Command::Store, address + 16, 7 * page);
        let word = enter(tcs, Command::Load, address + 16, 0);
        ensure!(word == 7 * page, "page {page} keeps {word:#x}");
    }
    let outside = [0x1234_u64; 1024];
    let word = enter(tcs, Command::Load, outside[700..].as_ptr() as u64, 0);
    ensure!(word == 0x1234, "memory outside reads as {word:#x}");
    let second = enclave.page(place::SECOND_TCS);
    ensure!(enter(second, Command::Add, 1, 2) == 3, "the second thread");
    Ok(())
}

/// A computation that lasts over many interrupts.
fn is_interrupted() -> Result<()> {
    const ROUNDS: u64 = 300_000_000;
    let enclave = Enclave::load(&image(Attributes::PLAIN))?;
    let (tcs, counter) = (enclave.page(place::TCS), enclave.page(place::DATA) + 64);
    let before = enter(tcs, Command::Load, counter, 0);
    enter(tcs, Command::Count, ROUNDS, counter);
    let after = enter(tcs, Command::Load, counter, 0);
    ensure!(
        after == before + ROUNDS,
        "{} of {ROUNDS} rounds",
        after - before
    );
    Ok(())
}

/// Each exception reaches the program as the vDSO reports it, and the enclave can be entered again to mend it.
fn exceptions() -> Result<()> {
    const GPRSGX: u64 = PAGE as u64 - 184;
    let function = code::vdso_function().context("the vDSO's function")?;
    let enclave = Enclave::load(&image(Attributes::PLAIN))?;
    let tcs = enclave.page(place::TCS);
    let registers = enclave.page(place::FRAMES) + GPRSGX;
    let entered = enter_by_vdso(function, tcs, Leaf::Enter, Command::Add as u64, [1, 2]);
    ensure!(
        (entered.status, entered.run.function, entered.result) == (0, 4, 3),
        "by the vDSO: {entered:?}"
    );
    // What is illegal inside, its vector, and its length.
    let cases = [
        (Command::Undefined, 6, 2),
        (Command::Identify, 6, 2),
        (Command::SystemCall, 6, 2),
        (Command::MonitorCall, 6, 3),
        (Command::Interrupt, 6, 2),
        (Command::Port, 6, 2),
        (Command::LoadSegment, 6, 2),
    ];
    for (command, vector, length) in cases {
        let mut met = 0;
        let ended = code::enter_and_mend(function, tcs, command, [0x10, 0], |entered| {
            met += 1;
            ensure!(
                entered.run.vector == vector,
                "{}: vector {}",
                super::name(command),
                entered.run.vector
            );
            enter(tcs, Command::StepOver, registers, length);
            Ok(met == 1)
        })?;
        ensure!(
            met == 1 && ended.run.function == 4,
            "{}: {met} exceptions",
            super::name(command)
        );
    }
    Ok(())
}

/// The monitor shows an enclave for as long as there is one, with the measurement that was computed beforehand.
fn listed() -> Result<()> {
    let image = image(Attributes::PLAIN);
    let find = |measurement: Option<[u8; 32]>| -> Result<Vec<adyton::Enclave>> {
        let mut all = adyton::enclaves()?;
        all.retain(|enclave| enclave.measurement == measurement);
        Ok(all)
    };
    let measurement = Some(image.measurement());
    ensure!(
        find(measurement)?.is_empty(),
        "it is there before it is made"
    );
    let enclave = Enclave::build(&image)?;
    ensure!(find(None)?.len() == 1, "it is not shown before EINIT");
    enclave.initialize(&signature::sign(&image.measurement(), image.attributes))?;
    let found = find(measurement)?;
    let pages = image.pages.len() as u64 + 1;
    ensure!(
        found.len() == 1 && found[0].memory == pages * PAGE as u64 && found[0].size == image.size,
        "{found:?}"
    );
    let digits = hexadecimal(&image.measurement());
    let shown = format!("enclave {} SGX enclave {digits}", found[0].number);
    let tree = tree()?;
    ensure!(tree.contains(&shown), "no {shown} in:\n{tree}");
    drop(enclave);
    ensure!(find(measurement)?.is_empty(), "it is there after its end");
    ensure!(!self::tree()?.contains(&shown), "the tree still shows it");
    Ok(())
}

/// What `adyton tree` prints.
fn tree() -> Result<String> {
    let output = Program::new("adyton").arg("tree").output()?;
    ensure!(output.status.success(), "adyton tree: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
