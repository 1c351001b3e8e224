//! Names whose page tables lie: domain 0's kernel lets them lead to a domain's memory, the monitor's, and devices, or changes them while the
//! monitor walks them.
#![allow(unsafe_code)]

use std::arch::asm;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use adyton::abi::call::{CLAIM_OPERATION, Call};
use adyton::abi::error::Error as Reason;
use adyton::{Environment, Flags, Key, Name, Request, calls};
use anyhow::{Context, Result, ensure};

use crate::fixture::{ROOM, agent, audit, pool, refused};
use crate::{attempt, kernel_attack, kernel_mode, machine, raw, startup};

pub(crate) const TESTS: &[crate::Test] = &[
    ("lying-tables", lying_tables),
    ("changing-names", changing_names),
    ("wrapping-names", wrapping_names),
    ("replayed-key", replayed_key),
];

/// Bits of an entry that lets a program read and write.
pub(crate) const PRESENT_WRITABLE_USER: u64 = 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// An entry of this process's page tables, to be exchanged in kernel mode.
struct Exchange {
    base_variable: u64,
    address: u64,
    /// 1: the entry of a small page; 2: of a table of these.
    level: u64,
    entry: u64,
}

extern "C" fn exchange(argument: u64) {
    let it: &mut Exchange = raw::borrowed(argument);
    // SAFETY: in kernel mode the variable holds where all memory is mapped, and the walk follows this process's own tables down
    // to an entry that only maps what the test reserved.
    unsafe {
        let base = (it.base_variable as *const u64).read_volatile();
        it.entry = entry(base, it.address, it.level).replace(it.entry);
        asm!("invlpg [{0}]", in(reg) it.address, options(nostack));
        // What other addresses of the same table have cached.
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack));
    }
}

/// Where the entry of that level stands that translates an address of this process.
///
/// # Safety
/// In kernel mode; all memory is mapped from `base` on, and there are tables down to that level.
pub(crate) unsafe fn entry(base: u64, address: u64, wanted: u64) -> *mut u64 {
    let mut table: u64;
    // SAFETY: reads a register, in kernel mode.
    unsafe { asm!("mov {0}, cr3", out(reg) table, options(nomem, nostack)) };
    let mut level = 4;
    loop {
        let index = address >> (12 + 9 * (level - 1)) & 511;
        let place = (base + (table & ADDRESS) + 8 * index) as *mut u64;
        if level == wanted {
            return place;
        }
        // SAFETY: as the caller warrants.
        table = unsafe { place.read_volatile() };
        level -= 1;
    }
}

/// Puts `entry` where `address` is translated; the entry that was there.
pub(crate) fn put(address: u64, level: u64, entry: u64) -> Result<u64> {
    let mut it = Exchange {
        base_variable: startup::base_variable()?,
        address,
        level,
        entry,
    };
    kernel_mode::run(exchange, &raw mut it as u64)?;
    Ok(it.entry)
}

/// The physical address of a page of this process, as root finds it out.
pub(crate) fn physical(address: u64) -> Result<u64> {
    let mut bytes = [0; 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut bytes, address / 4096 * 8)?;
    let frame = u64::from_le_bytes(bytes) & ((1 << 55) - 1);
    ensure!(frame != 0, "no frame");
    Ok(frame * 4096)
}

/// What the call with this name, and a load there, come to while `entry` translates it.
fn attempt(address: u64, level: u64, entry: u64, name: Name) -> Result<(u64, Option<u64>)> {
    let place = adyton::Linux::without_memory()?;
    let Key([low, high]) = name.key;
    let arguments = [address, low, high, CLAIM_OPERATION];
    let before = put(address, level, entry)?;
    let status = place.call(&Request::new(Call::Abandon, arguments)).status;
    let loaded = attempt::try_load(address);
    put(address, level, before)?;
    Ok((status, loaded))
}

fn lying_tables() -> Result<()> {
    const LARGE: u64 = 2 << 20;
    raw::stay_on(0)?;
    attempt::skip_faulting_calls()?;
    let running = agent(Flags::CONFIDENTIAL)?;
    let name = running.claim.name();
    let start = kernel_attack::start(&running.pool)?;
    let in_pool = |address: u64| start + (address - running.pool.environment().base());
    let (claimed, carved) = (
        in_pool(name.address),
        in_pool(running.claim.address() + 4096),
    );
    // A whole table of small pages that is this test's alone.
    let room = raw::anonymous_in_small_pages(3 * LARGE)?.next_multiple_of(LARGE);
    raw::store(room, 1);
    // The control: a table of this process's own that leads to the claim.
    let table = raw::anonymous_page()?;
    raw::store(table, claimed | PRESENT_WRITABLE_USER);
    let table = physical(table)? | PRESENT_WRITABLE_USER;
    let (status, loaded) = attempt(room, 2, table, name)?;
    ensure!(
        status == 0 && loaded.is_some(),
        "the control: {status}, {loaded:x?}"
    );
    let leaf = claimed | PRESENT_WRITABLE_USER;
    let (status, loaded) = attempt(room, 1, leaf, name)?;
    ensure!(
        status == 0 && loaded.is_some(),
        "the control: {status}, {loaded:x?}"
    );

    let hidden = kernel_attack::hidden_memory()?;
    let places = [
        ("carved", carved),
        ("monitor", hidden),
        ("APIC", machine::APIC),
    ];
    for (what, physical) in places {
        // As a table: its contents must not be believed, nor looked at.
        let (status, loaded) = attempt(room, 2, physical | PRESENT_WRITABLE_USER, name)?;
        ensure!(
            status == Reason::NotPool as u64,
            "{what} as a table: {status:#x}"
        );
        let harmless = loaded.is_none() || what == "APIC";
        ensure!(harmless, "{what} as a table: {loaded:x?}");
    }
    for (what, physical) in &places[1..] {
        let (status, loaded) = attempt(room, 1, physical | PRESENT_WRITABLE_USER, name)?;
        ensure!(
            status == Reason::NotFound as u64,
            "{what} as a page: {status:#x}"
        );
        let harmless = loaded.is_none() || *what == "APIC";
        ensure!(harmless, "{what} as a page: {loaded:x?}");
    }
    audit()?;
    Ok(())
}

/// A second thread maps another claim, or nothing, at the very address by which the first commands its own.
fn changing_names() -> Result<()> {
    const ROUNDS: u32 = 3000;
    attempt::skip_faulting_calls()?;
    let pool = pool()?;
    let claims = [pool.claim(ROOM)?, pool.claim(ROOM)?];
    let offsets = [0, 1].map(|which: usize| claims[which].address() - pool.environment().base());
    let device = File::options()
        .read(true)
        .write(true)
        .open(&pool.device().path)?;
    let address = raw::map(&device, offsets[0], 4 << 20, true)?;
    let is_over = AtomicBool::new(false);
    let mut counts = [0_u32; 3];
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| -> Result<()> {
            raw::stay_on(1)?;
            while !is_over.load(Ordering::Relaxed) {
                for offset in [Some(offsets[1]), None, Some(offsets[0])] {
                    raw::map_over(&device, address, 2 << 20, offset)?;
                    std::thread::yield_now();
                }
            }
            Ok(())
        });
        let Key([low, high]) = claims[0].name().key;
        let place = pool.environment();
        let mut outcome = Ok(());
        for _ in 0..ROUNDS {
            let arguments = [address, low, high, CLAIM_OPERATION];
            let status = place.call(&Request::new(Call::Abandon, arguments)).status;
            let which = match status {
                0 => 0,
                attempt::FAULTED => 1,
                code if code == Reason::BadKey as u64 => 2,
                code => {
                    outcome = Err(anyhow::anyhow!("status {code:#x}"));
                    break;
                }
            };
            counts[which] += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        changer.join().expect("no panic")?;
        outcome
    })?;
    println!("{counts:?} were taken, faulted, had a wrong key");
    ensure!(
        counts[0] > 0 && counts[2] > 0,
        "nothing changed: {counts:?}"
    );
    Ok(())
}

/// Ranges that end beyond the address space, and names at its edges.
fn wrapping_names() -> Result<()> {
    attempt::skip_faulting_calls()?;
    let claim = pool()?.claim(ROOM)?;
    let place = claim.environment();
    let Name {
        address,
        key: Key([low, high]),
    } = claim.name();
    let page = claim.pages(4096)?;
    let carve = |from: u64, size: u64| {
        let words = [address, low, high, from, size, 0, 3 | 128, 0];
        place
            .call(&Request::new(Call::Carve, words).with_token(place.entropy()))
            .status
    };
    ensure!(carve(u64::MAX - 0xfff, 8192) == Reason::Invalid as u64);
    ensure!(carve(page.address(), u64::MAX - 0xfff) == Reason::Invalid as u64);
    // From the last page of the lower half on, and through the hole.
    ensure!(carve((1 << 47) - 4096, 8192) == attempt::FAULTED);
    ensure!(carve(1 << 47, 4096) == attempt::FAULTED);
    for name in [0, 1 << 47, 1 << 63, u64::MAX, u64::MAX - 7] {
        let words = [name, low, high, 0, 64, 0];
        let status = place.call(&Request::new(Call::Create, words)).status;
        ensure!(
            status == attempt::FAULTED,
            "a domain at {name:#x}: {status:#x}"
        );
    }
    ensure!(carve(page.address(), 4096) == 0, "the control was refused");
    Ok(())
}

/// The key of a claim that is gone opens nothing, also in the same place.
fn replayed_key() -> Result<()> {
    let pool = pool()?;
    let old = pool.claim(ROOM)?.name();
    let new = pool.claim(ROOM)?;
    ensure!(new.name().address == old.address, "the claim is elsewhere");
    let place = new.environment();
    refused(calls::finish(place, old), Reason::BadKey)?;
    calls::finish(place, new.name()).context("the control")?;
    Ok(())
}
