//! What is left in registers: nothing of a domain's for its caller or the next domain, nothing of the caller's for the domain.
#![allow(unsafe_code)]

use std::arch::asm;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton::abi::PAGE_SIZE;
use adyton::abi::call::Call;
use adyton::abi::error::Error as Reason;
use adyton::abi::exit::ExitKind;
use adyton::convention::PAYLOAD;
use adyton::tables::{Access, Mapping};
use adyton::{ALL_RIGHTS, Domain, Entry, Environment, Flags, Placement, policy, tables};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::fixture::{ROOM, agent, ask, pool, run};
use crate::raw;
use crate::registers::{self, Registers};

pub(crate) const TESTS: &[crate::Test] = &[
    ("no-registers-leak-out", no_registers_leak_out),
    ("no-registers-leak-in", no_registers_leak_in),
    ("no-flags-leak-in", flags_of_the_caller),
    ("no-components-leak", no_components_leak),
    ("no-breakpoints-leak", no_breakpoints_leak),
    ("no-registers-lost-between-cores", no_registers_lost),
];

/// The word that the `pattern` payload has in every register.
const PATTERN: u64 = 0x5ec2_e75e_c2e7_a001;

/// What the caller of `enter` has in its registers afterwards is its own, but for the operands of the exit.
fn no_registers_leak_out() -> Result<()> {
    let running = run("rogue", &["pattern"], Flags::CONFIDENTIAL)?;
    let environment = running.pool.environment().clone();
    let own = 0x0a11_0a11_0a11_0000;
    for sequence in 0..5 {
        let mut registers = Registers::default();
        for (number, register) in registers.general.iter_mut().enumerate() {
            *register = own + number as u64;
        }
        let before = enter_with(running.domain(), &environment, sequence, &mut registers)?;
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
    0x48, 0x89, 0x0c, 0x25, 0x10, 0x30, 0x00, 0x00, // mov [0x3010], rcx
    0x31, 0xc9, // xor ecx, ecx
    0x0f, 0x01, 0xd0, // xgetbv
    0x48, 0xa3, 0x08, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // mov [0x3008], rax
    0xb8, 0x07, 0x00, 0x00, 0x00, // mov eax, 7
    0x31, 0xd2, // xor edx, edx
    0x48, 0x0f, 0xae, 0x24, 0x25, 0x40, 0x30, 0x00, 0x00, // xsave64 [0x3040]
    0xf4, // hlt
];

/// The pattern, in RCX and all of YMM0.
const OWN_PATTERN: &[u8] = &[
    0x48, 0xb9, 0x01, 0xa0, 0xe7, 0xc2, 0x5e, 0xe7, 0xc2, 0x5e, // mov rcx, PATTERN
    0x66, 0x48, 0x0f, 0x6e, 0xc1, // movq xmm0, rcx
    0xc4, 0xe2, 0x7d, 0x59, 0xc0, // vpbroadcastq ymm0, xmm0
];

/// XCR0 becomes 1: x87 alone.
const FEWER_COMPONENTS: &[u8] = &[
    0x31, 0xc9, // xor ecx, ecx
    0x31, 0xd2, // xor edx, edx
    0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
    0x0f, 0x01, 0xd1, // xsetbv
    0xf4, // hlt
];

/// What a domain without a runtime has found.
struct Look {
    /// Its third page: RFLAGS, XCR0, RCX, and from word 8 on the XSAVE area.
    found: [u64; 512],
    /// Its general registers in the end.
    general: [u64; 16],
}

impl Look {
    /// The XSAVE area's x87 and vector registers, legacy part and AVX.
    fn vectors(&self) -> impl Iterator<Item = &u64> {
        let saved = &self.found[8..];
        saved[4..52].iter().chain(&saved[72..104])
    }
}

/// Runs `code` in a domain without a runtime: page 1 code, page 2 stack, page 3 what it finds, shared; page tables behind. Its caller
/// has the pattern in its own registers, and arithmetic flags and DF set.
fn look(code: &[u8]) -> Result<Look> {
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
    pages.write(0, code);
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
    let vcpu = domain.add_vcpu(Entry {
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
    let mut registers = Registers::default();
    (registers.general, registers.flags) = ([PATTERN; 15], FLAGS);
    enter_with(&domain, claim.environment(), 0, &mut registers)?;
    let results = registers.results();
    ensure!(results[0] == ExitKind::Halt as u64, "{results:x?}");
    let found = std::array::from_fn(|word| pages.load(2 * PAGE_SIZE + 8 * word as u64));
    let general = vcpu.registers().general;
    domain.keep(pages);
    Ok(Look { found, general })
}

/// Enters the domain's first vCPU with these registers but for the call's own; what all of them were.
fn enter_with(
    domain: &Domain,
    environment: &impl Environment,
    sequence: u64,
    registers: &mut Registers,
) -> Result<Registers> {
    set_enter(registers, domain, environment, sequence);
    let before = *registers;
    registers::call_with(registers);
    ensure!(registers.status() == 0, "status {}", registers.status());
    Ok(before)
}

fn set_enter(
    registers: &mut Registers,
    domain: &Domain,
    environment: &impl Environment,
    sequence: u64,
) {
    let name = domain.name();
    let [low, high] = name.key.0;
    registers.set_call(Call::Enter, [name.address, low, high, 0, sequence, 0]);
    registers.set_token(environment.entropy());
}

/// Two cores compete for one vCPU, each to enter it in the moment in which the other has left: what it had in FS it finds again, although the
/// CPU that it left keeps that longer than its other registers.
fn no_registers_lost() -> Result<()> {
    const TIME: Duration = Duration::from_secs(8);
    let running = run("rogue", &["selector"], Flags::CONFIDENTIAL)?;
    let environment = running.pool.environment().clone();
    let (sequence, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    let compete = |core: u32| -> Result<u64> {
        raw::stay_on(core as usize)?;
        let mut registers = Registers::default();
        set_enter(&mut registers, running.domain(), &environment, 0);
        let (begin, mut entries) = (Instant::now(), 0);
        // Nothing else between two calls, so that what is looked for happens often.
        for attempt in 1_u64.. {
            let mut registers = registers;
            // Before the other has returned, nobody has told the number of its exit: it is the next.
            registers.set_sequence(sequence.load(Ordering::Acquire) + (attempt & 1));
            registers.set_token(attempt << 1 | u64::from(core));
            registers::call_with(&mut registers);
            match Reason::from_code(registers.status()) {
                None => {
                    let [_, next, payload, _, found, ..] = registers.results();
                    ensure!(payload == PAYLOAD, "{:x?}", registers.results());
                    lost.fetch_max(found, Ordering::Relaxed);
                    sequence.fetch_max(next, Ordering::AcqRel);
                    entries += 1;
                }
                // The other has it, or has had it since.
                Some(Reason::Busy | Reason::Stale) => {}
                Some(reason) => bail!("core {core}: {reason:?}"),
            }
            if attempt % 256 == 0 && begin.elapsed() > TIME {
                break;
            }
        }
        Ok(entries)
    };
    let [first, second] = std::thread::scope(|scope| {
        [0, 1]
            .map(|core| scope.spawn(move || compete(core)))
            .map(|thread| thread.join().expect("a thread that does not panic"))
    });
    let (first, second) = (first?, second?);
    println!("{first} and {second} entries");
    ensure!(first > 100 && second > 100, "{first} and {second} entries");
    let lost = lost.into_inner();
    ensure!(lost == 0, "FS was another's {lost} times");
    Ok(())
}

/// Arithmetic flags and DF.
const FLAGS: u64 = 0xcd5;

/// What a domain finds in its registers is nobody's, whoever ran on the core before, and whatever its caller has in its own.
fn no_registers_leak_in() -> Result<()> {
    raw::stay_on(0)?;
    let own = look(&[OWN_PATTERN, FIRST_LOOK].concat())?;
    let count = own.vectors().filter(|word| **word == PATTERN).count();
    ensure!(
        count == 4 && own.found[2] == PATTERN,
        "the control: the pattern was found {count} times"
    );
    let mut before = run("rogue", &["pattern"], Flags::CONFIDENTIAL)?;
    before.words()?;
    let Look { found, general } = look(FIRST_LOOK)?;
    // RAX, RDX and RSP are the code's own; RCX it has stored.
    let others = [1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let strange = others.iter().find(|number| general[**number] != 0);
    ensure!(
        strange.is_none() && found[2] == 0,
        "general registers: {general:x?}, RCX {:#x}",
        found[2]
    );
    ensure!(found[0] & FLAGS == 0, "flags {:#x}", found[0]);
    let look = Look { found, general };
    let strange = look.vectors().find(|word| **word != 0);
    ensure!(strange.is_none(), "a vector register holds {strange:x?}");
    Ok(())
}

/// XCR0.
fn components() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: Linux has enabled the instruction; it reads a register.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// A domain changes XCR0: its caller has its own again, and the next domain begins with what every domain begins with.
fn no_components_leak() -> Result<()> {
    const DOMAINS: u64 = 7;
    raw::stay_on(0)?;
    let before = components();
    ensure!(before & DOMAINS == DOMAINS, "XCR0 is {before:#x}");
    for _ in 0..3 {
        look(FEWER_COMPONENTS)?;
        let after = components();
        ensure!(after == before, "XCR0 was {before:#x} and is {after:#x}");
        let found = look(FIRST_LOOK)?.found[1];
        ensure!(found == DOMAINS, "a domain begins with XCR0 {found:#x}");
    }
    let own = look(&[&FEWER_COMPONENTS[..12], FIRST_LOOK].concat())?.found[1];
    ensure!(
        own == 1,
        "the control: XCR0 is {own:#x} after it was changed"
    );
    Ok(())
}

/// The caller's data breakpoint lies where the domain stores, and another where the caller itself stores: the domain hits none, and the
/// caller's are as they were.
fn no_breakpoints_leak() -> Result<()> {
    const VALUE: u64 = 0x5ec2;
    let mut running = agent(Flags::CONFIDENTIAL)?;
    // The far end of the stack is used by nothing.
    let inside = running.loaded.plan.entries[0].rsp - (60 << 10);
    let own = raw::anonymous_page()?;
    let mut copy = running.vcpu().duplicate();
    let child = raw::start_copy(move || {
        // SAFETY: asks to be traced by the test.
        let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } == 0;
        let stopped = traced && raise(Signal::SIGSTOP).is_ok();
        let answer = ask(&mut copy, [2, inside, VALUE, 0, 0, 0]);
        let kept = ask(&mut copy, [1, inside, 0, 0, 0, 0]);
        let is_right = stopped && answer.is_ok() && kept.is_ok_and(|words| words[0] == VALUE);
        if is_right {
            raw::store(own, VALUE);
        }
        i32::from(!is_right)
    })?;
    let outcome = with_breakpoints(child, [inside, own]);
    // It may have ended by itself.
    let _ = (kill(child, Signal::SIGKILL), waitpid(child, None));
    outcome
}

/// Sets data breakpoints for a process that stops itself, lets it go on, and sees that it hits the second and not the first.
fn with_breakpoints(child: Pid, places: [u64; 2]) -> Result<()> {
    /// Both, for 8 bytes written (Intel SDM volume 3, section 18.2.4).
    const BOTH: u64 = 0b0101 | 0b1001_1001 << 16;
    let request = |request, place: u64, data: u64| {
        // SAFETY: the requests concern the child only.
        let result = unsafe { libc::ptrace(request, child.as_raw(), place, data) };
        Errno::result(result).with_context(|| format!("ptrace {request}"))
    };
    let register = |number: u64| offset_of!(libc::user, u_debugreg) as u64 + 8 * number;
    let first = waitpid(child, None)?;
    ensure!(
        matches!(first, WaitStatus::Stopped(_, Signal::SIGSTOP)),
        "{first:?}"
    );
    for (number, place) in (0..).zip(places) {
        request(libc::PTRACE_POKEUSER, register(number), place)?;
    }
    request(libc::PTRACE_POKEUSER, register(7), BOTH)?;
    request(libc::PTRACE_CONT, 0, 0)?;
    let next = waitpid(child, None)?;
    ensure!(
        matches!(next, WaitStatus::Stopped(_, Signal::SIGTRAP)),
        "it hit no breakpoint: {next:?}"
    );
    let hit = request(libc::PTRACE_PEEKUSER, register(6), 0)? & 3;
    ensure!(hit == 2, "it hit {hit:#b}");
    Ok(())
}

/// A caller with DF and CF set: the domain begins without, and the caller has them again.
fn flags_of_the_caller() -> Result<()> {
    let mut running = run("echo", &[], Flags::CONFIDENTIAL)?;
    let environment = running.pool.environment().clone();
    for sequence in 0..3 {
        let mut registers = Registers::default();
        registers.flags = 0x401;
        enter_with(running.domain(), &environment, sequence, &mut registers)?;
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
