//! How a domain leaves: its exceptions, its accesses outside, what its owner sees of it.

use adyton::abi::PAGE_SIZE;
use adyton::abi::exit::Registers;
use adyton::convention::{FAULT, FINISHED, OFFER_WINDOW, PAYLOAD};
use adyton::{Console, Exit, Flags, Outcome};
use anyhow::{Context, Result, ensure};

use crate::fixture::{agent_with, run, words};

pub(crate) const TESTS: &[crate::Test] = &[
    ("exceptions-of-a-sandbox", exceptions_of_a_sandbox),
    (
        "exceptions-of-a-confidential-domain",
        exceptions_of_a_confidential_domain,
    ),
    ("handled-inside", handled_inside),
    ("halt", halt),
    ("outside-memory", outside_memory),
    ("shutdown", shutdown),
    ("stack-overflow", stack_overflow),
    ("panic", panics),
    ("registers-visible", registers_visible),
    ("registers-hidden", registers_hidden),
    ("debug-read", debug_read),
    ("forbidden-instructions", forbidden_instructions),
    ("processor-view", processor_view),
    ("time-is-monotonic", time_is_monotonic),
];

/// Kind of exception and its vector. `int3` is not here: emulators do not let the monitor intercept it.
const EXCEPTIONS: [(&str, u64); 4] = [
    ("divide", 0),
    ("undefined", 6),
    ("protection", 13),
    ("unmapped", 14),
];

fn exceptions_of_a_sandbox() -> Result<()> {
    for (kind, expected) in EXCEPTIONS {
        let mut running = run("fault", &[kind], Flags::NONE)?;
        let exit = running.vcpu().enter(0)?;
        let Exit::Exception {
            vector, address, ..
        } = exit
        else {
            anyhow::bail!("{kind}: {exit:?}")
        };
        ensure!(vector == expected, "{kind}: {exit:?}");
        ensure!(kind != "unmapped" || address == 0x10, "{exit:?}");
        let code = running.loaded.plan.private;
        let rip = running.vcpu().registers().rip;
        ensure!(
            (code.base..code.base + code.size).contains(&rip),
            "{kind}: rip {rip:#x}"
        );
    }
    Ok(())
}

fn exceptions_of_a_confidential_domain() -> Result<()> {
    for (kind, expected) in EXCEPTIONS.into_iter().chain([("breakpoint", 3)]) {
        let mut running = run("fault", &[kind], Flags::CONFIDENTIAL)?;
        let words = running.words()?;
        ensure!(words[..2] == [FAULT, expected], "{kind}: {words:?}");
    }
    Ok(())
}

fn handled_inside() -> Result<()> {
    let mut running = run("fault", &["handled"], Flags::CONFIDENTIAL)?;
    let words = running.words()?;
    ensure!(words[..2] == [FINISHED, 3], "{words:?}");
    Ok(())
}

fn halt() -> Result<()> {
    let mut running = run("fault", &["halt"], Flags::CONFIDENTIAL)?;
    let exit = running.vcpu().enter(0)?;
    ensure!(exit == Exit::Halt, "{exit:?}");
    ensure!(running.words()?[0] == PAYLOAD);
    Ok(())
}

/// Where its page tables lead and its memory does not.
fn outside_memory() -> Result<()> {
    for (flags, visible) in [(Flags::NONE, true), (Flags::CONFIDENTIAL, false)] {
        let mut running = agent_with(flags, |program| program.windows[OFFER_WINDOW] = PAGE_SIZE)?;
        let outside = running.loaded.plan.windows[OFFER_WINDOW].base;
        for (operation, stores) in [(1, false), (2, true)] {
            let exit = running.vcpu().answer([operation, outside, 0, 0, 0, 0], 0)?;
            let address = if visible { outside } else { 0 };
            let expected = Exit::Memory {
                write: stores,
                execute: false,
                address,
            };
            ensure!(exit == expected, "{exit:x?} instead of {expected:x?}");
            running = agent_with(flags, |program| program.windows[OFFER_WINDOW] = PAGE_SIZE)?;
        }
    }
    Ok(())
}

fn shutdown() -> Result<()> {
    let mut running = run("fault", &["shutdown"], Flags::CONFIDENTIAL)?;
    let exit = running.vcpu().enter(0)?;
    ensure!(exit == Exit::Shutdown, "{exit:?}");
    let again = running.vcpu().enter(0);
    ensure!(
        !matches!(again, Ok(Exit::Call(_))),
        "went on after shutdown: {again:?}"
    );
    Ok(())
}

fn stack_overflow() -> Result<()> {
    let mut running = run("fault", &["overflow"], Flags::CONFIDENTIAL)?;
    let words = running.words()?;
    ensure!(words[..2] == [FAULT, 14], "{words:?}");
    Ok(())
}

fn panics() -> Result<()> {
    let mut running = run("fault", &["panic"], Flags::CONFIDENTIAL)?;
    let mut console = Console::of(&running.loaded).context("a console")?;
    let mut output = Vec::new();
    let outcome = console.run(running.vcpu(), 0, &mut std::io::empty(), &mut output)?;
    ensure!(outcome == Outcome::Panic, "{outcome:?}");
    let text = String::from_utf8_lossy(&output);
    ensure!(text.contains("as asked"), "{text}");
    Ok(())
}

/// A sandbox's owner sees every register at an exit, and sets them.
fn registers_visible() -> Result<()> {
    let mut running = run("fault", &["undefined"], Flags::NONE)?;
    let exit = running.vcpu().enter(0)?;
    ensure!(
        matches!(exit, Exit::Exception { vector: 6, .. }),
        "{exit:?}"
    );
    let mut registers = running.vcpu().registers();
    ensure!(
        registers.rsp_is_inside(&running.loaded.plan.private),
        "{registers:x?}"
    );
    registers.rip += 2;
    running.vcpu().set_registers(&registers);
    let words = running.words()?;
    ensure!(words[..2] == [FINISHED, 99], "{words:?}");
    Ok(())
}

/// Reads a register by what it is for.
trait Inside {
    fn rsp_is_inside(&self, range: &adyton::abi::start::Range) -> bool;
}

impl Inside for Registers {
    fn rsp_is_inside(&self, range: &adyton::abi::start::Range) -> bool {
        self.general[4].wrapping_sub(range.base) < range.size
    }
}

/// A confidential domain's owner sees the operands of the exit and nothing else; setting registers has no effect.
fn registers_hidden() -> Result<()> {
    let mut running = run("probe", &["secret"], Flags::CONFIDENTIAL)?;
    let words = running.words()?;
    let registers = running.vcpu().registers();
    ensure!(registers == Registers::default(), "{registers:x?}");
    let changed = Registers {
        rip: 0x1000,
        general: [7; 16],
        rflags: 2,
    };
    running.vcpu().set_registers(&changed);
    let again = running.words()?;
    ensure!(again == words, "{again:x?} instead of {words:x?}");
    Ok(())
}

fn debug_read() -> Result<()> {
    let secret = 0x5ec2_e75e_c2e7_0001;
    let mut open = run("probe", &["secret"], Flags::CONFIDENTIAL | Flags::DEBUG)?;
    let address = open.words()?[1];
    let found = open.domain().debug_read(address)?;
    ensure!(found == [secret; 7], "{found:x?}");
    let mut closed = run("probe", &["secret"], Flags::CONFIDENTIAL)?;
    let address = closed.words()?[1];
    let outcome = closed.domain().debug_read(address);
    ensure!(outcome.is_err(), "read a confidential domain: {outcome:x?}");
    Ok(())
}

/// What a domain must not do raises the exception that bare metal raises without the right to.
fn forbidden_instructions() -> Result<()> {
    let attempts = [
        ["port", "128"],
        ["port", "3320"],
        ["msr", "27"],
        ["msr", "3221291287"],
        ["write-msr", "3221291287"],
        ["write-msr", "27"],
    ];
    for attempt in attempts {
        let mut running = run("probe", &attempt, Flags::CONFIDENTIAL)?;
        let words = running.words()?;
        ensure!(words[1..3] == [0xdead, 13], "{attempt:?}: {words:x?}");
    }
    Ok(())
}

fn processor_view() -> Result<()> {
    let leaf = |number: &str| -> Result<u64> {
        Ok(run("probe", &["cpuid", number], Flags::CONFIDENTIAL)?.words()?[1])
    };
    let svm = leaf("2147483649")? >> 32 & 1 << 2;
    ensure!(svm == 0, "a domain sees SVM");
    let discovery = leaf("1073758464")? as u32;
    ensure!(
        discovery > adyton::abi::discovery::LEAF,
        "no monitor in a domain: {discovery:#x}"
    );
    let first = run("probe", &["random"], Flags::CONFIDENTIAL)?.words()?[1];
    let second = run("probe", &["random"], Flags::CONFIDENTIAL)?.words()?[1];
    ensure!(first != second && first != 0, "randomness repeats");
    Ok(())
}

fn time_is_monotonic() -> Result<()> {
    let mut running = run("probe", &["tsc"], Flags::CONFIDENTIAL)?;
    let mut exit = running.vcpu().enter(0)?;
    loop {
        let [kind, value, ..] = words(exit)?;
        if kind == PAYLOAD {
            ensure!(value == 1, "time went back inside the domain");
            return Ok(());
        }
        exit = running.vcpu().enter(0)?;
    }
}
