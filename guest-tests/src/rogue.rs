//! Domains that misbehave: what they must not do raises an exception inside, whatever they do ends at most themselves, and nothing
//! of theirs is left in registers for others.

use std::time::{Duration, Instant};

use adyton::abi::PAGE_SIZE;
use adyton::abi::call::Call;
use adyton::convention::{FINISHED, PAYLOAD};
use adyton::tables::{Access, Mapping};
use adyton::{ALL_RIGHTS, Domain, Entry, Exit, Flags, Monitor, Placement, policy, tables};
use anyhow::{Context, Result, ensure};

use crate::fixture::{ROOM, agent, pool, run};
use crate::raw;
use crate::registers::{self, Registers};

pub(crate) const TESTS: &[crate::Test] = &[
    ("rogue-instructions", instructions),
    ("rogue-tables", bad_tables),
    ("rogue-storm", storm),
    ("rogue-loop", endless_loop),
    ("no-registers-leak-out", no_registers_leak_out),
    ("no-registers-leak-in", no_registers_leak_in),
    ("no-flags-leak-in", flags_of_the_caller),
];

const DEBUG: u64 = 1;
const UNDEFINED: u64 = 6;
const PROTECTION: u64 = 13;
const NOTHING: u64 = 0xff;

/// What each attempt of the payload must raise, in its order.
const EXPECTED: [u64; 38] = [
    // VMRUN and its family, and a call that is no call of ours.
    UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED,
    // Control registers, CLTS, LMSW.
    PROTECTION, PROTECTION, PROTECTION, PROTECTION, PROTECTION, // Debug registers.
    PROTECTION, PROTECTION, PROTECTION, // RDPMC, MONITOR, MWAIT.
    UNDEFINED, UNDEFINED, UNDEFINED, // INVD, WBINVD, RSM.
    PROTECTION, PROTECTION, PROTECTION, // Ports.
    PROTECTION, PROTECTION, PROTECTION, PROTECTION, PROTECTION,
    // MSRs: EFER, HSAVE_PA, VM_CR, x2APIC's ICR, TSC, DEBUGCTL.
    PROTECTION, PROTECTION, PROTECTION, PROTECTION, PROTECTION, PROTECTION,
    // XCR0 with what it does not have, and without x87.
    PROTECTION, PROTECTION, // Its own single step.
    DEBUG,      // The controls.
    NOTHING, NOTHING,
];

fn instructions() -> Result<()> {
    let mut running = run("rogue", &["instructions"], Flags::CONFIDENTIAL)?;
    let mut found = Vec::new();
    loop {
        match running.vcpu().enter(0)? {
            Exit::Call([PAYLOAD, number, vector, ..]) => {
                ensure!(number as usize == found.len(), "attempt {number}");
                found.push(vector);
            }
            Exit::Call([FINISHED, ..]) => break,
            other => anyhow::bail!("attempt {}: {other:?}", found.len()),
        }
    }
    for (number, (found, expected)) in found.iter().zip(EXPECTED).enumerate() {
        // RSM and some others are undefined to an emulator before they are anybody's to intercept.
        let same = *found == expected || (expected == PROTECTION && *found == UNDEFINED);
        ensure!(same, "attempt {number} raised {found}, not {expected}");
    }
    ensure!(found.len() == EXPECTED.len(), "{} attempts", found.len());
    Ok(())
}

/// Whatever its page tables are, the domain comes back, and another one is as it was.
fn bad_tables() -> Result<()> {
    let mut other = agent(Flags::CONFIDENTIAL)?;
    for kind in ["code", "outside", "monitor", "zero"] {
        for flags in [Flags::NONE, Flags::CONFIDENTIAL] {
            let mut running = run("rogue", &["tables", kind], flags)?;
            let limit = Monitor::ask()?.frequency.unwrap_or(1_000_000_000);
            let exit = running.vcpu().enter(limit)?;
            let expected = matches!(
                exit,
                Exit::Memory { .. } | Exit::Shutdown | Exit::Exception { .. } | Exit::Budget
            );
            ensure!(expected, "{kind}: {exit:?}");
        }
    }
    ensure!(other.ask([6, 0, 0, 0, 0, 0])?[0] > 0);
    Ok(())
}

fn storm() -> Result<()> {
    let mut running = run("rogue", &["storm"], Flags::CONFIDENTIAL)?;
    let limit = Monitor::ask()?.frequency.unwrap_or(1_000_000_000);
    let exit = running.vcpu().enter(limit)?;
    let expected = matches!(exit, Exit::Shutdown | Exit::Memory { .. });
    ensure!(expected, "{exit:?}");
    Ok(())
}

/// Interrupts off and an endless loop: the owner's limit ends it, and others on the core run meanwhile.
fn endless_loop() -> Result<()> {
    raw::stay_on(0)?;
    let mut running = run("spin", &["0"], Flags::CONFIDENTIAL)?;
    let limit = Monitor::ask()?.frequency.unwrap_or(1_000_000_000) / 5;
    let (exit, slept) = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let begin = Instant::now();
            std::thread::sleep(Duration::from_millis(20));
            begin.elapsed()
        });
        let exit = running.vcpu().enter(limit);
        (exit, sleeper.join().expect("no panic"))
    });
    ensure!(exit? == Exit::Budget);
    ensure!(slept < Duration::from_secs(1), "20 ms took {slept:?}");
    Ok(())
}

/// The word that the `pattern` payload has in every register.
const PATTERN: u64 = 0x5ec2_e75e_c2e7_a001;

/// What the caller of `enter` has in its registers afterwards is its own, but for the operands of the exit.
fn no_registers_leak_out() -> Result<()> {
    let running = run("rogue", &["pattern"], Flags::CONFIDENTIAL)?;
    let (name, environment) = (running.domain().name(), running.pool.environment().clone());
    let own = 0x0a11_0a11_0a11_0000;
    for sequence in 0..5 {
        let mut registers = Registers::default();
        for (number, register) in registers.general.iter_mut().enumerate() {
            *register = own + number as u64;
        }
        let [low, high] = name.key.0;
        registers.set_call(Call::Enter, [name.address, low, high, 0, sequence, 0]);
        registers.set_token(adyton::Environment::entropy(&environment));
        let before = registers;
        registers::call_with(&mut registers);
        ensure!(registers.status() == 0, "status {}", registers.status());
        // Kind, sequence, and the six words of the call: the first is the payload's kind, the others are the pattern, as it asked.
        let results = registers.results();
        ensure!(results[2] == PAYLOAD, "{results:x?}");
        let kept = registers.kept() == before.kept();
        ensure!(kept, "{:x?} became {:x?}", before.kept(), registers.kept());
        ensure!(
            registers.flags & 0xcd5 == before.flags & 0xcd5,
            "flags {:#x}",
            registers.flags
        );
        ensure!(
            !registers.vector_holds(PATTERN),
            "a vector register holds the pattern"
        );
    }
    Ok(())
}

/// Code that stores what it finds in its registers at its first instruction: XSAVE to RSI is not possible, since all registers
/// are zero; so it saves to a fixed place.
const FIRST_LOOK: &[u8] = &[
    0x9c, // pushfq
    0x58, // pop rax
    0x48, 0xa3, 0x00, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // mov [0x3000], rax
    0xb8, 0x07, 0x00, 0x00, 0x00, // mov eax, 7
    0x31, 0xd2, // xor edx, edx
    0x48, 0x0f, 0xae, 0x24, 0x25, 0x40, 0x30, 0x00, 0x00, // xsave64 [0x3040]
    0xf4, // hlt
];

/// A domain without a runtime: page 1 code, page 2 stack, page 3 what it finds, shared; page tables behind.
fn first_look() -> Result<([u64; 512], [u64; 16])> {
    const PLACE: u64 = 0x1000;
    let claim = pool()?.claim(ROOM)?;
    let mapping = Mapping {
        base: PLACE,
        size: 3 * PAGE_SIZE,
        access: Access {
            write: true,
            execute: true,
        },
    };
    let tables_at = 0x10_0000;
    let built = tables::build(&[mapping], tables_at);
    let domain = Domain::create(&claim, policy(Flags::NONE), 32)?;
    let pages = claim.pages((3 + built.len() as u64) * PAGE_SIZE)?;
    pages.zero();
    pages.write(0, FIRST_LOOK);
    for (number, table) in built.iter().enumerate() {
        let place = (3 + number as u64) * PAGE_SIZE;
        for (entry, offset) in table.iter().zip((0..).step_by(8)) {
            pages.store(place + offset, *entry);
        }
    }
    let part = |from: u64, count: u64, place: u64| Placement {
        from: pages.address() + from * PAGE_SIZE,
        size: count * PAGE_SIZE,
        place,
        attributes: ALL_RIGHTS,
    };
    let mut vcpu = domain.add_vcpu(Entry {
        rip: PLACE,
        rsp: PLACE + 2 * PAGE_SIZE,
        cr3: tables_at,
        argument: 0,
    })?;
    domain.cores(0, 0)?;
    domain.carve(part(0, 2, PLACE))?;
    domain.share(part(2, 1, PLACE + 2 * PAGE_SIZE))?;
    domain.carve(part(3, built.len() as u64, tables_at))?;
    domain.seal()?;
    let exit = vcpu.enter(0)?;
    ensure!(exit == Exit::Halt, "{exit:?}: {:x?}", vcpu.registers());
    let found = std::array::from_fn(|word| pages.load(2 * PAGE_SIZE + 8 * word as u64));
    let general = vcpu.registers().general;
    domain.keep(pages);
    Ok((found, general))
}

/// What a domain finds in its registers is nobody's, whoever ran on the core before.
fn no_registers_leak_in() -> Result<()> {
    raw::stay_on(0)?;
    let mut before = run("rogue", &["pattern"], Flags::CONFIDENTIAL)?;
    before.words()?;
    let (found, general) = first_look()?;
    // RAX, RDX and RSP are the code's own.
    let others = [1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let strange = others.iter().find(|number| general[**number] != 0);
    ensure!(strange.is_none(), "general registers: {general:x?}");
    ensure!(found[0] & 0xcd5 == 0, "flags {:#x}", found[0]);
    let saved = &found[8..];
    let control = saved[0] & 0xffff;
    ensure!(
        control == 0x37f,
        "the x87 control word is {control:#x}: nothing was saved"
    );
    // x87 and vector registers, legacy part and AVX.
    let vectors = saved[4..52].iter().chain(&saved[72..104]);
    let strange = vectors.clone().find(|word| **word != 0);
    ensure!(strange.is_none(), "a vector register holds {strange:x?}");
    Ok(())
}

/// A caller with DF and CF set: the domain begins without, and the caller has them again.
fn flags_of_the_caller() -> Result<()> {
    let mut running = run("echo", &[], Flags::CONFIDENTIAL)?;
    let (name, environment) = (running.domain().name(), running.pool.environment().clone());
    for sequence in 0..3 {
        let mut registers = Registers::default();
        registers.flags = 0x401;
        let [low, high] = name.key.0;
        registers.set_call(Call::Enter, [name.address, low, high, 0, sequence, 0]);
        registers.set_token(adyton::Environment::entropy(&environment));
        registers::call_with(&mut registers);
        ensure!(registers.status() == 0, "status {}", registers.status());
        ensure!(
            registers.flags & 0x401 == 0x401,
            "flags {:#x}",
            registers.flags
        );
    }
    let _still_there = running.vcpu();
    running.domain().destroy().context("destroying")?;
    Ok(())
}
