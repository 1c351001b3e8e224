//! A core that root starts by itself: INIT and start-up by the APIC, into code of its own below 1 MiB.
//!
//! On bare metal that core would run under nobody. Here it must run in domain 0: the code asks who is below it, and reaches for a
//! domain's memory, in real and protected mode, without paging and without Linux.
#![allow(unsafe_code)]

use std::arch::global_asm;
use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use adyton::Flags;
use anyhow::{Context, Result, bail, ensure};

use crate::fixture::agent;
use crate::whole_core::set_online;
use crate::{kernel_attack, kernel_mode, machine, raw};

/// Where the code goes: low memory that Linux keeps free.
const PLACE: u64 = 0x9000;
/// Where it leaves what it found, and finds what it shall look at.
const FOUND: u64 = PLACE + 0x800;
const TARGETS: u64 = PLACE + 0x900;
/// What a load gives that raised an exception.
const REFUSED: u32 = 0xfa17_fa17;
const FINISHED: u32 = 0x600d_f00d;

global_asm!(
    r#"
.section .text.startup_attack, "ax"
.balign 16
startup_attack:
.code16
    cli
    mov ax, cs
    mov ds, ax
    mov eax, 0x40004100
    cpuid
    mov [0x800], ebx
    lgdt [0x100]
    lidt [0x108]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    // A far jump to the code at 0x40.
    .byte 0x66, 0xea
    .long {place} + 0x40
    .word 8
.org startup_attack + 0x40
.code32
    mov ax, 0x10
    mov ds, ax
    mov ss, ax
    mov esp, {place} + 0xff0
    mov esi, [{targets}]
    mov eax, [esi]
    mov [{found} + 4], eax
    mov esi, [{targets} + 4]
    mov eax, [esi]
    mov [{found} + 8], eax
    mov dword ptr [{found} + 12], {finished}
1:  hlt
    jmp 1b
.org startup_attack + 0xc0
    // #GP: goes on behind the load, whose length is 2, with a value of its own.
    mov eax, {refused}
    add esp, 4
    add dword ptr [esp], 2
    iretd
.org startup_attack + 0x100
    // Pointers to the segments at 0x110 and to the gates at 0x128.
    .word 23
    .long {place} + 0x110
.org startup_attack + 0x108
    .word 14 * 8 - 1
    .long {place} + 0x128
.org startup_attack + 0x110
    .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff
    .fill 13, 8, 0
    .word {place} + 0xc0
    .word 8, 0x8e00, 0
startup_attack_end:
.code64
.text
"#,
    place = const PLACE,
    targets = const TARGETS,
    found = const FOUND,
    finished = const FINISHED,
    refused = const REFUSED,
);

unsafe extern "C" {
    static startup_attack: u8;
    static startup_attack_end: u8;
}

/// The code as bytes.
fn code() -> Vec<u8> {
    let start = &raw const startup_attack;
    let length = &raw const startup_attack_end as usize - start as usize;
    // SAFETY: the assembly above lies between the two symbols.
    unsafe { std::slice::from_raw_parts(start, length) }.to_vec()
}

/// A copy between this program and physical memory, in kernel mode by Linux' mapping of all memory.
struct Copy {
    base_variable: u64,
    physical: u64,
    buffer: *mut u8,
    length: usize,
    is_write: bool,
}

extern "C" fn copy(argument: u64) {
    let it: &mut Copy = raw::borrowed(argument);
    // SAFETY: in kernel mode the variable holds where all memory is mapped; the pages below 1 MiB that the test names are
    // nobody's, and the buffer is the test's own.
    unsafe {
        let base = (it.base_variable as *const u64).read_volatile();
        let place = (base + it.physical) as *mut u8;
        for index in 0..it.length {
            if it.is_write {
                place.add(index).write_volatile(it.buffer.add(index).read());
            } else {
                it.buffer.add(index).write(place.add(index).read_volatile());
            }
        }
    }
}

fn low_memory(physical: u64, bytes: &mut [u8], is_write: bool) -> Result<()> {
    let mut it = Copy {
        base_variable: base_variable()?,
        physical,
        buffer: bytes.as_mut_ptr(),
        length: bytes.len(),
        is_write,
    };
    kernel_mode::run(copy, &raw mut it as u64)
}

/// The address of the variable that says where the kernel has mapped all memory.
pub(crate) fn base_variable() -> Result<u64> {
    static FOUND: OnceLock<u64> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(*found);
    }
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let mut lines = symbols.lines();
    let line = lines.find(|line| line.ends_with(" page_offset_base"));
    let address = line.and_then(|line| line.split(' ').next());
    let address = u64::from_str_radix(address.context("no such symbol")?, 16)?;
    ensure!(address != 0, "the kernel hides its symbols");
    Ok(*FOUND.get_or_init(|| address))
}

fn words(physical: u64) -> Result<[u32; 4]> {
    let mut bytes = [0; 16];
    low_memory(physical, &mut bytes, false)?;
    let word = |index: usize| bytes[4 * index..][..4].try_into().map(u32::from_le_bytes);
    Ok([word(0)?, word(1)?, word(2)?, word(3)?])
}

const INIT: u32 = 0x4500;
const START: u32 = 0x4600;

/// A core that root starts finds the monitor below it, and cannot read a domain's memory.
pub(crate) fn startup() -> Result<()> {
    raw::stay_on(0)?;
    let running = agent(Flags::CONFIDENTIAL)?;
    let open = running.claim.pages(4096)?;
    open.store(0, 0x0be9);
    let base = running.pool.environment().base();
    let physical = |address: u64| -> Result<u32> {
        let place = kernel_attack::start(&running.pool)? + (address - base);
        Ok(u32::try_from(place)?)
    };
    let targets = [
        physical(running.claim.address() + 4096)?,
        physical(open.address())?,
    ];
    let apic = machine::map_physical(machine::APIC, 4096)?;
    // A start-up is ignored by a core that runs: Linux does not notice.
    machine::send(apic, 1, START | (PLACE >> 12) as u32)?;
    set_online(1, "0").context("taking core 1 offline")?;
    low_memory(PLACE, &mut code(), true)?;
    low_memory(FOUND, &mut [0; 16], true)?;
    let mut words_of_targets = targets.map(u32::to_le_bytes).concat();
    low_memory(TARGETS, &mut words_of_targets, true)?;
    machine::send(apic, 1, INIT)?;
    std::thread::sleep(Duration::from_millis(20));
    machine::send(apic, 1, START | (PLACE >> 12) as u32)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    let found = loop {
        let found = words(FOUND)?;
        if found[3] == FINISHED {
            break found;
        }
        if Instant::now() > deadline {
            bail!("the core did not run the code: {found:x?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    set_online(1, "1").context("taking core 1 back")?;
    let [below, carved, open, _] = found;
    ensure!(
        below == u32::from_le_bytes(*b"Adyt"),
        "no monitor below: {below:#x}"
    );
    ensure!(open == 0x0be9, "the control read {open:#x}");
    ensure!(
        [REFUSED, u32::MAX].contains(&carved),
        "the domain's memory: {carved:#x}"
    );
    Ok(())
}
